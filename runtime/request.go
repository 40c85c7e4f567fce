package runtime

import "github.com/opencontainers/runtime-spec/specs-go"

// Request is what the caller wants to run, and in what surroundings. Image, Args and Env must be set; the zero value
// of everything else is the default behaviour: the host's /dev, /proc, /sys, /tmp, home and working directory inside.
//
// All host paths must be absolute; target paths (inside) too.
type Request struct {
	Image Image
	Args  []string // the command; Args[0] is looked up in the PATH of Env unless it has a slash
	Env   []string // the final environment, NAME=value

	Binds   []Bind   // in order, after the default mounts
	Sites   []Bind   // the site's binds, before home, /tmp and Binds; left out with NoMount "bind-paths" or their target
	FUSE    []FUSE   // after Binds
	Files   []File   // files that are made, e.g. /etc/resolv.conf in place of the host's
	Scratch []string // targets that become empty writable directories
	Workdir string   // host directory below which Scratch and, with Contain, /tmp, /var/tmp and home lie; "" = memory
	Home    Home
	Cwd     string // initial directory inside; "" = Host.Cwd with the fall-backs home and /

	Contain    bool     // minimal /dev; empty /tmp, /var/tmp and home; no working directory
	MinimalDev bool     // minimal /dev without the rest of Contain
	NoMount    []string // default mounts to leave out: proc sys dev devpts home tmp cwd bind-paths cvmfs, or a target path
	CVMFS      []string // host directories merged at /cvmfs, the first of them leading; none = no /cvmfs
	// Repositories are shown in place of what CVMFS has by their names.
	Repositories []Repository

	Writable      bool  // write into the image directory
	WritableTmpfs bool  // write into memory, which is lost at the end
	TmpfsSize     int64 // bytes for WritableTmpfs; 0 = the kernel's default, half of the memory
	Overlays      []Overlay
	MemoryFS      string // type of the file system for directories in memory but WritableTmpfs; "" = tmpfs
	Private       bool   // what the host mounts later does not show inside

	Namespaces Namespaces
	NoInit     bool   // with Namespaces.PID: the command is process 1 itself
	Hostname   string // needs Namespaces.UTS

	Privileges Privileges
	Seccomp    Seccomp
	Umask      *uint32 // nil = the caller's
	Rlimits    []specs.POSIXRlimit
}

// Image is the root file system.
type Image struct {
	Path string // absolute directory in the mount namespace in which Start runs
	Name string // as the user wrote it, for messages; "" = Path
}

// Repository shows the host directory Dir at /cvmfs/Name: a repository at one revision.
type Repository struct{ Name, Dir string }

// Bind shows Source inside as Target.
type Bind struct {
	Source    string // absolute host path; "" with no other field than Target and Origin makes no sense
	Target    string // "" = Source
	ReadOnly  bool
	NoRecurse bool   // leave out what is mounted below Source, where the kernel permits
	Optional  bool   // leave out silently if Source does not exist
	Weak      bool   // failing is worth a warning only
	Origin    string // who asked, for messages, e.g. "--bind", "/etc/flatrun/config.yaml:12"
}

// File is a file made for the container, where the image has or can take Target.
type File struct{ Target, Content string }

// Home decides about the home directory. The zero value shows Host.Home at its own path.
type Home struct {
	None   bool   // no home directory, unless the working directory lies in it
	Source string // host directory; "" = Host.Home (with Contain: an empty one)
	Target string // "" = Source, else Host.Home
	Empty  bool   // an empty directory in memory
}

// Overlay is a directory laid over the image, the last one uppermost.
type Overlay struct {
	Path     string // if it has a directory upper, that is laid over; a writable one needs upper and work, which are made
	ReadOnly bool   // all but at most one, which is uppermost then
	Layer    bool   // read-only, and a layer of the image: Path itself is laid over, below the other overlays
}

// Namespaces are those that the container does not share with the host. User and mount namespaces are always its own.
type Namespaces struct {
	PID, IPC, UTS, Net, Cgroup bool
	Fakeroot                   bool                   // the caller is root inside
	UIDs, GIDs                 []specs.LinuxIDMapping // nil = the caller's id only
}

// Privileges are what the command may gain.
type Privileges struct {
	// Keep leaves the bounding set as it is, for programs that make namespaces of their own by way of file
	// capabilities. Only with Fakeroot the command keeps capabilities over its execve, and then always.
	Keep bool
	// AllowSetuid leaves out no_new_privs, so set-user-id programs of nosuid-less mounts work.
	AllowSetuid bool
}

// Seccomp chooses the system call filter. The zero value is the default deny list.
type Seccomp struct {
	Off     bool
	Profile *specs.LinuxSeccomp // in place of the default
}

// Host is what Spec has to know of the machine and the caller, gathered once by ReadHost.
type Host struct {
	UID, GID uint32
	Groups   []uint32
	User     Account
	Group    string // name of GID, "" if it has none
	Home     string // the account's; $HOME for who has none
	Cwd      string // the caller's working directory, by the name the caller knows it ($PWD if that is right)
	TTY      string // path of the terminal on standard input, "" if none
}

// Account is the caller's entry in the password database.
type Account struct{ Name, Gecos, Shell string }
