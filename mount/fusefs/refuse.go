package fusefs

// errRefused is the reason of Refuse.
type errRefused struct{ error }

// Refuse makes the mount answer EACCES to whatever the kernel does not know yet, until it is called with nil. Files that were
// read before may be read on, as with the official client, which asks for permission when a file is opened: there is no
// OPEN here, and a program that runs would be killed by a page that cannot be had. Nothing is taken out of the kernel's
// tables either: a directory that fails to be looked up again loses what is mounted on it.
func (fs *FS) Refuse(why error) {
	if why == nil {
		fs.refused.Store(nil)
		return
	}
	fs.refused.Store(&errRefused{why})
}

// refusal is the reason for which nothing is answered, nil for none.
func (fs *FS) refusal() error {
	if why := fs.refused.Load(); why != nil {
		return *why
	}
	return nil
}
