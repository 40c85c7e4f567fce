package main

import "github.com/flatrun/flatrun/runtime/limits"

// options holds what the flags of the container verbs say.
type options struct {
	Help bool

	Bind, Mount      texts
	FUSEMount        texts
	Home             string
	HomeGiven        bool // --home was given, rather than the account's directory
	NoHome           bool
	NoMount          []string
	Dir              string // --pwd, --cwd
	Scratch          []string
	Workdir          string
	Overlay          []string
	Follow           bool
	Writable         bool
	WritableTmpfs    bool
	Contain          bool
	ContainAll       bool
	Compat, NoCompat bool
	CleanEnv         bool
	Env              pairs
	EnvFile, NoEnv   []string
	NoEval, NoUmask  bool
	PID, NoPID       bool
	NoInit           bool
	IPC, UTS, Net    bool
	Hostname         string
	Network, DNS     string
	NetnsPath        string
	UserNS           bool
	Fakeroot         bool
	IgnoreSubuid     bool
	KeepPrivs        bool
	NoPrivs          bool
	AddCaps          string
	DropCaps         string
	AllowSetuid      bool
	Security         []string
	App, Shell       string
	NV, ROCm         bool
	IntelHPU         bool
	NoNV, NoROCm     bool
	ContainLibs      []string
	Devices, CDIDirs []string
	Limits           limits.Limits
	LimitFlags       []string // the flags that Limits come from
	LimitsFile       string
	ShareNS          bool
	ScriptTimeout    string
	Ignored          bool   // sink of flags that have nothing to do here
	IgnoredText      string // the same with a value
	Refused          bool   // sink of flags that are refused when used
	RefusedText      string
	RefusedList      []string

	PIDFile string // of instance start and run

	Inspect      inspectOptions
	Storage      storageOptions
	Stop         stopOptions
	Long         bool     // of images
	Repositories []string // of images
	JSON         bool     // of status, doctor and instances
	Metrics      string   // of mount
	All          bool     // of umount and instances
	Force        bool
}

// inspectOptions says which parts of an image's metadata are asked for.
type inspectOptions struct {
	Labels, Deffile, JSON, ListApps, Runscript bool
	Startscript, Test, Environment, Help, All  bool
}

// globalFlags stand before the verb.
func globalFlags(p *program, g *global) []flag {
	return []flag{
		{name: "config", short: "c", value: &p.config, arg: "file", help: "read this configuration file instead of the site's (or FLATRUN_CONFIG)"},
		{name: "debug", short: "d", value: &g.debug, twins: []string{"DEBUG"}, help: "print debugging information (highest verbosity)"},
		{name: "nocolor", value: &g.noColor, twins: []string{"NOCOLOR"}, help: "print without color output (default False)"},
		{name: "quiet", short: "q", value: &g.quiet, twins: []string{"QUIET"}, help: "suppress normal output"},
		{name: "silent", short: "s", value: &g.silent, twins: []string{"SILENT"}, help: "only print errors"},
		{name: "verbose", short: "v", value: &g.verbose, twins: []string{"VERBOSE"}, help: "print additional information"},
		{name: "version", value: &g.version, help: "print the version"},
		{name: "help", short: "h", value: &g.help, help: "print this text"},
		{name: "build-config", value: new(bool), hidden: true},
	}
}

// containerFlags are those of exec, run, shell and test (and of instances).
func containerFlags(o *options) []flag {
	table := mountFlags(o)
	table = append(table, writableFlags(o)...)
	table = append(table, environmentFlags(o)...)
	table = append(table, namespaceFlags(o)...)
	table = append(table, privilegeFlags(o)...)
	table = append(table, deviceFlags(o)...)
	table = append(table, limitFlags(o)...)
	return append(table, foreignFlags(o)...)
}

func mountFlags(o *options) []flag {
	return []flag{
		{name: "bind", short: "B", value: &o.Bind, twins: []string{"BIND", "BINDPATH"}, appends: true, arg: "spec", help: "a user-bind path specification src[:dest[:opts]]; dest defaults to src, opts may be ro or rw; several by commas"},
		{name: "mount", value: &o.Mount, twins: []string{"MOUNT"}, appends: true, arg: "spec", help: "a mount specification, e.g. 'type=bind,src=/opt,dst=/hostopt,ro'"},
		{name: "fusemount", value: &o.FUSEMount, twins: []string{"FUSESPEC"}, arg: "spec", help: "a file system that a program serves, as 'container:PROGRAM [ARG...] MOUNTPOINT', or host: for a program of the host; with container-daemon: or host-daemon: it goes into the background by itself; implies --pid"},
		{name: "home", short: "H", value: &o.Home, twins: []string{"HOME"}, arg: "spec", help: "the home directory: src, or src:dest to place it elsewhere in the container"},
		{name: "no-home", value: &o.NoHome, twins: []string{"NO_HOME"}, help: "do not mount the home directory unless the current directory is in it"},
		{name: "no-mount", value: &o.NoMount, twins: []string{"NO_MOUNT"}, arg: "list", help: "leave out default mounts: proc, sys, dev, devpts, home, tmp, hostfs, cwd, bind-paths, or the path of one bind of the site's"},
		{name: "cwd", value: &o.Dir, twins: []string{"CWD", "TARGET_CWD"}, arg: "path", help: "initial working directory in the container (synonym for --pwd)"},
		{name: "pwd", value: &o.Dir, twins: []string{"PWD", "TARGET_PWD"}, arg: "path", help: "initial working directory in the container (synonym for --cwd)"},
		{name: "scratch", short: "S", value: &o.Scratch, twins: []string{"SCRATCH", "SCRATCHDIR"}, arg: "path", help: "a private writable directory at this path, under --workdir if given"},
		{name: "workdir", short: "W", value: &o.Workdir, twins: []string{"WORKDIR"}, arg: "path", help: "where /tmp, /var/tmp and $HOME live with --contain, and scratch directories"},
		{name: "contain", short: "c", value: &o.Contain, twins: []string{"CONTAIN"}, help: "minimal /dev and empty /tmp and $HOME instead of the host's"},
		{name: "containall", short: "C", value: &o.ContainAll, twins: []string{"CONTAINALL"}, help: "contain file systems, PID, IPC and environment"},
		{name: "compat", value: &o.Compat, twins: []string{"COMPAT"}, help: "behave as Docker would: --containall --no-init --no-umask --no-eval --writable-tmpfs"},
		{name: "no-compat", value: &o.NoCompat, twins: []string{"NO_COMPAT"}, hidden: true, help: "do not behave as Docker would (the default)"},
		{name: "follow", value: &o.Follow, twins: []string{"FOLLOW"}, help: "show new revisions of repositories as they come, instead of keeping those that the container starts with"},
		{name: "underlay", value: &o.Ignored, twins: []string{"UNDERLAY"}, hidden: true, help: "mount points are always made this way"},
	}
}

func writableFlags(o *options) []flag {
	return []flag{
		{name: "overlay", short: "o", value: &o.Overlay, twins: []string{"OVERLAY", "OVERLAYIMAGE"}, arg: "dir", help: "a directory laid over the image: writable, or read-only with :ro; several are allowed, one of them writable"},
		{name: "writable", short: "w", value: &o.Writable, twins: []string{"WRITABLE"}, help: "write into the image, where it is a directory of your own"},
		{name: "writable-tmpfs", value: &o.WritableTmpfs, twins: []string{"WRITABLE_TMPFS"}, help: "make the image writable; what is written goes away with the container"},
	}
}

func environmentFlags(o *options) []flag {
	return []flag{
		{name: "cleanenv", short: "e", value: &o.CleanEnv, twins: []string{"CLEANENV"}, help: "pass no variables of the host but TERM and the proxies"},
		{name: "env", value: &o.Env, twins: []string{"ENV"}, arg: "k=v", help: "set variables in the container"},
		{name: "env-file", value: &o.EnvFile, twins: []string{"ENV_FILE"}, arg: "file", help: "set variables from a file of shell assignments"},
		{name: "no-env", value: &o.NoEnv, twins: []string{"NOENV", "NO_ENV"}, arg: "list", help: "variables of the host not to pass"},
		{name: "no-eval", value: &o.NoEval, twins: []string{"NO_EVAL"}, help: "take values and OCI arguments literally instead of evaluating them as a shell would"},
		{name: "no-umask", value: &o.NoUmask, twins: []string{"NO_UMASK"}, help: "start with umask 0022 instead of the caller's"},
		{name: "app", value: &o.App, twins: []string{"APP", "APPNAME"}, arg: "name", help: "a SCIF application inside the container"},
		{name: "runscript-timeout", value: &o.ScriptTimeout, twins: []string{"RUNSCRIPT_TIMEOUT"}, arg: "time", help: "how long the image's environment scripts may take (default 1m)"},
	}
}

func namespaceFlags(o *options) []flag {
	return []flag{
		{name: "pid", short: "p", value: &o.PID, twins: []string{"PID", "UNSHARE_PID"}, help: "a new PID namespace"},
		{name: "no-pid", value: &o.NoPID, twins: []string{"NO_PID"}, help: "no new PID namespace, whatever else says so"},
		{name: "no-init", value: &o.NoInit, twins: []string{"NOSHIMINIT", "NO_INIT"}, help: "with --pid: let the command itself be process 1"},
		{name: "ipc", short: "i", value: &o.IPC, twins: []string{"IPC", "UNSHARE_IPC"}, help: "a new IPC namespace"},
		{name: "uts", value: &o.UTS, twins: []string{"UTS", "UNSHARE_UTS"}, help: "a new UTS namespace"},
		{name: "hostname", value: &o.Hostname, twins: []string{"HOSTNAME"}, arg: "name", help: "the host name in the container (implies --uts)"},
		{name: "net", short: "n", value: &o.Net, twins: []string{"NET", "UNSHARE_NET"}, help: "a new network namespace with a loopback only"},
		{name: "network", value: &o.Network, twins: []string{"NETWORK"}, arg: "name", help: "none (loopback only) or host"},
		{name: "dns", value: &o.DNS, twins: []string{"DNS"}, arg: "list", help: "name servers for the container's resolv.conf"},
		{name: "userns", short: "u", value: &o.UserNS, twins: []string{"USERNS", "UNSHARE_USERNS"}, help: "a new user namespace (always the case)"},
		{name: "network-args", value: &o.RefusedList, twins: []string{"NETWORK_ARGS"}, hidden: true, refuse: "networks are set up by root; use --network none or --network host"},
		{name: "netns-path", value: &o.NetnsPath, twins: []string{"NETNS_PATH"}, arg: "path", help: "join this network namespace, for those who have rights in it, such as root"},
		{name: "sharens", value: &o.ShareNS, twins: []string{"SHARENS"}, help: "share one container with the other processes of the same parent, launcher or batch step that name this image; what the first one asks for counts"},
		{name: "share", value: &o.ShareNS, twins: []string{"SHARE"}, hidden: true, help: "the same as --sharens"},
	}
}

func privilegeFlags(o *options) []flag {
	return []flag{
		{name: "fakeroot", short: "f", value: &o.Fakeroot, twins: []string{"FAKEROOT"}, help: "appear as root inside"},
		{name: "keep-privs", value: &o.KeepPrivs, twins: []string{"KEEP_PRIVS"}, help: "keep root's capabilities (root, or with --fakeroot, where that is so anyway)"},
		{name: "no-privs", value: &o.NoPrivs, twins: []string{"NO_PRIVS"}, help: "drop all capabilities, root's too"},
		{name: "add-caps", value: &o.AddCaps, twins: []string{"ADD_CAPS"}, arg: "list", help: "capabilities to have within the container's user namespace, or all"},
		{name: "drop-caps", value: &o.DropCaps, twins: []string{"DROP_CAPS"}, arg: "list", help: "capabilities to drop, or all"},
		{name: "allow-setuid", value: &o.AllowSetuid, twins: []string{"ALLOW_SETUID"}, help: "honour set-user-id programs (root, or with --fakeroot)"},
		{name: "security", value: &o.Security, twins: []string{"SECURITY"}, arg: "spec", help: "seccomp:FILE, apparmor:PROFILE, selinux:CONTEXT"},
		{name: "ignore-subuid", value: &o.IgnoreSubuid, twins: []string{"IGNORE_SUBUID"}, hidden: true, help: "with --fakeroot: map one id only"},
		{name: "ignore-fakeroot-command", value: &o.Ignored, twins: []string{"IGNORE_FAKEROOT_COMMAND"}, hidden: true},
		{name: "ignore-userns", value: &o.Ignored, twins: []string{"IGNORE_USERNS"}, hidden: true},
	}
}

func deviceFlags(o *options) []flag {
	return []flag{
		{name: "nv", value: &o.NV, twins: []string{"NV"}, help: "bring in the host's NVIDIA devices and libraries, where there are any"},
		{name: "rocm", value: &o.ROCm, twins: []string{"ROCM"}, help: "bring in the host's AMD devices and libraries, where there are any"},
		{name: "no-nv", value: &o.NoNV, twins: []string{"NV_OFF", "NO_NV"}, hidden: true, help: "not --nv, even if the site says so"},
		{name: "no-rocm", value: &o.NoROCm, twins: []string{"ROCM_OFF", "NO_ROCM"}, hidden: true, help: "not --rocm, even if the site says so"},
		{name: "containlibs", value: &o.ContainLibs, twins: []string{"CONTAINLIBS"}, hidden: true, help: "libraries of the host to place in /.singularity.d/libs"},
		{name: "nvccli", value: &o.Refused, twins: []string{"NVCCLI"}, hidden: true, refuse: "nvidia-container-cli needs root; use --nv"},
		{name: "compat32", value: &o.Refused, twins: []string{"COMPAT32"}, hidden: true, refuse: "32-bit GPU libraries are not brought in; bind them with --containlibs"},
		{name: "intel-hpu", value: &o.IntelHPU, twins: []string{"INTEL_HPU"}, help: "bring in the host's Gaudi devices under --contain, those of HABANA_VISIBLE_DEVICES"},
		{name: "device", value: &o.Devices, twins: []string{"DEVICE"}, arg: "list", help: "CDI devices, as vendor/class=name"},
		{name: "cdi-dirs", value: &o.CDIDirs, twins: []string{"CDI_DIRS"}, arg: "dirs", help: "where CDI specifications are (default /etc/cdi,/var/run/cdi)"},
	}
}

// foreignFlags belong to image files, registries and tools that have no place
// here. Those that only tune what does not happen are accepted in silence: a
// directory is neither pulled nor unpacked, and an image file is refused itself.
func foreignFlags(o *options) []flag {
	const (
		sif    = "image files are not supported; run a directory, or an image of a CVMFS repository"
		crypt  = "encrypted images are not supported; run a directory, or an image of a CVMFS repository"
		dmtcp  = "checkpoints are not supported; use the batch system's checkpointing"
		vmonly = "virtual machines are not supported"
	)
	return []flag{
		{name: "disable-cache", value: &o.Ignored, twins: []string{"DISABLE_CACHE"}, hidden: true},
		{name: "tmpdir", value: &o.IgnoredText, twins: []string{"TMPDIR"}, hidden: true},
		{name: "no-https", value: &o.Ignored, twins: []string{"NOHTTPS", "NO_HTTPS"}, hidden: true},
		{name: "nohttps", value: &o.Ignored, hidden: true},
		{name: "authfile", value: &o.IgnoredText, twins: []string{"AUTHFILE"}, hidden: true},
		{name: "docker-username", value: &o.IgnoredText, twins: []string{"DOCKER_USERNAME"}, hidden: true},
		{name: "docker-password", value: &o.IgnoredText, twins: []string{"DOCKER_PASSWORD"}, hidden: true},
		{name: "docker-host", value: &o.IgnoredText, twins: []string{"DOCKER_HOST"}, hidden: true},
		{name: "docker-login", value: &o.Ignored, twins: []string{"DOCKER_LOGIN"}, hidden: true},
		{name: "passphrase", value: &o.Refused, hidden: true, refuse: crypt},
		{name: "pem-path", value: &o.RefusedText, hidden: true, refuse: crypt},
		{name: "unsquash", value: &o.Ignored, twins: []string{"UNSQUASH"}, hidden: true},
		{name: "sif-fuse", value: &o.Ignored, twins: []string{"SIF_FUSE"}, hidden: true},
		{name: "tmp-sandbox", value: &o.Ignored, twins: []string{"TMP_SANDBOX"}, hidden: true},
		{name: "data", value: &o.RefusedList, twins: []string{"DATA"}, hidden: true, refuse: sif},
		{name: "proot", value: &o.RefusedText, twins: []string{"PROOT"}, hidden: true, refuse: "proot is not needed; use --fakeroot"},
		{name: "oci", value: &o.Refused, twins: []string{"OCI"}, hidden: true, refuse: "OCI mode is not supported; use --compat"},
		{name: "no-oci", value: &o.Ignored, twins: []string{"NO_OCI"}, hidden: true},
		{name: "no-setgroups", value: &o.Ignored, twins: []string{"NO_SETGROUPS"}, hidden: true},
		{name: "no-tmp-sandbox", value: &o.Ignored, twins: []string{"NO_TMP_SANDBOX"}, hidden: true},
		{name: "dmtcp-launch", value: &o.RefusedText, twins: []string{"DMTCP_LAUNCH"}, hidden: true, refuse: dmtcp},
		{name: "dmtcp-restart", value: &o.RefusedText, twins: []string{"DMTCP_RESTART"}, hidden: true, refuse: dmtcp},
		{name: "boot", value: &o.Refused, twins: []string{"BOOT"}, hidden: true, refuse: "an init system cannot boot without the host's root; put the services into the start script (instance start) or the command (instance run)"},
		{name: "vm", value: &o.Refused, twins: []string{"VM"}, hidden: true, refuse: vmonly},
		{name: "syos", value: &o.Refused, twins: []string{"SYOS"}, hidden: true, refuse: vmonly},
	}
}

// shellFlags are those that only shell has.
func shellFlags(o *options) []flag {
	return []flag{
		{name: "shell", short: "s", value: &o.Shell, twins: []string{"SHELL"}, arg: "path", help: "path to the program to use as interactive shell"},
	}
}

func inspectFlags(o *options) []flag {
	i := &o.Inspect
	return []flag{
		{name: "labels", short: "l", value: &i.Labels, help: "show the labels (default)"},
		{name: "deffile", short: "d", value: &i.Deffile, help: "show the definition file the image was made from"},
		{name: "json", short: "j", value: &i.JSON, help: "print structured JSON instead of sections"},
		{name: "list-apps", value: &i.ListApps, help: "list the SCIF applications"},
		{name: "app", value: &o.App, arg: "name", help: "look at one application"},
		{name: "runscript", short: "r", value: &i.Runscript, help: "show the run script"},
		{name: "startscript", short: "s", value: &i.Startscript, help: "show the start script"},
		{name: "test", short: "t", value: &i.Test, help: "show the test script"},
		{name: "environment", short: "e", value: &i.Environment, help: "show the environment scripts"},
		{name: "helpfile", short: "H", value: &i.Help, help: "show the help text of the run script"},
		{name: "all", value: &i.All, help: "show everything, as JSON"},
	}
}
