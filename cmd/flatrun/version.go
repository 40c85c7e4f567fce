package main

// compatVersion is the release of Apptainer whose behaviour the front end
// follows. HTCondor, pilots and job wrappers read the first line of --version:
// "apptainer" in it chooses the APPTAINERENV_ prefix, and a number is compared.
const compatVersion = "1.4.0"

// printVersionLine answers --version.
func (p *program) printVersionLine() error {
	return p.print(p.versionLine() + "\n")
}

func (p *program) versionLine() string {
	if p.compatible() {
		return "apptainer version " + compatVersion + "-flatrun" + version
	}
	return "flatrun version " + version
}

// runVersion answers the version verb: the bare number.
func runVersion(p *program, _ *options, _ []string) error {
	if p.compatible() {
		return p.print(compatVersion + "-flatrun" + version + "\n")
	}
	return p.print(version + "\n")
}
