package main

// runDoctor shows what this host offers.
func runDoctor(p *program, o *options, _ []string) error {
	return p.becomeSession("doctor")
}
