package main

// verbFlags is the table of a verb with the flags that every verb has.
func (p *program) verbFlags(v *verb, o *options) []flag {
	table := []flag{{name: "help", short: "h", value: &o.Help, help: "print this text"}}
	if v.flags != nil {
		table = append(v.flags(o), table...)
	}
	return table
}

// parseVerb reads a verb's flags, then the environment twins, and returns what
// stands after the flags. Flags that cannot work here end it with one line.
func (p *program) parseVerb(v *verb, o *options, args []string) ([]string, error) {
	table := p.verbFlags(v, o)
	set := p.newFlagSet(v.name)
	for _, f := range table {
		f.define(set)
	}
	if err := set.Parse(args); err != nil {
		return nil, usageError{verb: v, reason: err.Error()}
	}
	if o.Help {
		return nil, nil
	}
	if err := p.applyTwins(set, table); err != nil {
		return nil, err
	}
	for _, f := range table {
		given := set.Lookup(f.name).Changed
		if f.refuse != "" && given && !zero(f.value) {
			return nil, fatal("--%s: %s", f.name, f.refuse)
		}
		if f.name == "home" {
			o.HomeGiven = given
		}
	}
	o.imply()
	return set.Args(), nil
}

// imply sets what one flag says about others. Namespaces that --hostname and
// --net imply are the runtime's to add.
func (o *options) imply() {
	if o.Compat {
		o.ContainAll, o.NoInit, o.NoUmask, o.NoEval, o.WritableTmpfs = true, true, true, true, true
	}
	if o.ContainAll {
		o.Contain, o.PID, o.IPC, o.CleanEnv = true, true, true, true
	}
	if o.NoPID {
		o.PID = false
	}
	if len(o.FUSEMount) > 0 {
		o.PID, o.NoInit = true, false // the programs end with the namespace, and its init waits for them
	}
	if o.Hostname != "" {
		o.UTS = true
	}
}

// zero reports whether a flag was set to its zero value, as in --unsquash=false.
func zero(value any) bool {
	switch v := value.(type) {
	case *bool:
		return !*v
	case *string:
		return *v == ""
	case *[]string:
		return len(*v) == 0
	}
	return false
}
