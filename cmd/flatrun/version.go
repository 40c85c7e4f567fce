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
		return "apptainer version " + compatibleVersion()
	}
	return "flatrun version " + version
}

// compatibleVersion is a number that sorts as the release itself, by the rules of semantic versions and by those of
// Python packages: Snakemake refuses one that the latter do not know.
func compatibleVersion() string { return compatVersion + "+flatrun" + version }

// runVersion answers the version verb: the bare number.
func runVersion(p *program, _ *options, _ []string) error {
	if p.compatible() {
		return p.print(compatibleVersion() + "\n")
	}
	return p.print(version + "\n")
}
