// Package site is what a site decides about containers: the part of the configuration that the runtime obeys.
//
// It stands apart from package config so that the front end, which is started a
// million times a day, can hold the directives without linking a YAML parser:
// the session reads the files and passes this struct on as JSON.
package site

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
)

// Runtime are the directives. Names in JSON and in the configuration files are
// the same. Default gives the values of a file that says nothing.
type Runtime struct {
	// Bind are shown in every container, before the user's own binds.
	Bind []Bind `json:"bind"`
	// UserBindControl lets users bind directories of their choice.
	UserBindControl bool `json:"user_bind_control"`

	MountProc   bool `json:"mount_proc"`
	MountSys    bool `json:"mount_sys"`
	MountDev    Dev  `json:"mount_dev"`
	MountDevpts bool `json:"mount_devpts"`
	MountHome   bool `json:"mount_home"`
	MountTmp    bool `json:"mount_tmp"`
	MountCVMFS  bool `json:"mount_cvmfs"`
	// MountHostfs shows all file systems that the host has mounted at their own places, where nothing else is.
	MountHostfs bool `json:"mount_hostfs"`
	// MountSlave lets what the host mounts later, such as a repository by autofs, appear inside.
	MountSlave bool `json:"mount_slave"`
	// MemoryFSType is the file system of the directories that a container gets in memory.
	MemoryFSType MemoryFS `json:"memory_fs_type"`

	// ConfigPasswd, ConfigGroup and ConfigResolvConf add the caller and his
	// groups to, and replace, the image's /etc files of these names.
	ConfigPasswd     bool `json:"config_passwd"`
	ConfigGroup      bool `json:"config_group"`
	ConfigResolvConf bool `json:"config_resolv_conf"`

	AllowPIDNS bool `json:"allow_pid_ns"`
	AllowIPCNS bool `json:"allow_ipc_ns"`
	AllowUTSNS bool `json:"allow_uts_ns"`
	AllowNetNS bool `json:"allow_net_ns"`

	EnableOverlay bool `json:"enable_overlay"`
	// EnableFusemount lets users mount file systems that programs serve (--fusemount).
	EnableFusemount bool `json:"enable_fusemount"`
	// WritableTmpfsSize bounds what --writable-tmpfs may hold.
	WritableTmpfsSize Size `json:"writable_tmpfs_size"`

	// AllowContainerDir lets plain directories be run, and not only what lies in
	// a repository.
	AllowContainerDir bool `json:"allow_container_dir"`
	// LimitContainerPaths are the only directories below which images may lie;
	// none means no limit.
	LimitContainerPaths []string `json:"limit_container_paths" sep:","`

	// AlwaysUseNV and AlwaysUseROCm are --nv and --rocm on every call; GPUAuto is
	// either of them where the host has such a GPU.
	AlwaysUseNV   bool `json:"always_use_nv"`
	AlwaysUseROCm bool `json:"always_use_rocm"`
	GPUAuto       bool `json:"gpu_auto"`

	// CleanEnv is --cleanenv on every call. NoEnv are host variables that never
	// enter a container.
	CleanEnv bool     `json:"cleanenv"`
	NoEnv    []string `json:"no_env" sep:","`
	// SystemdCgroups lets the user's systemd make the control group of --memory and its like where none is delegated.
	SystemdCgroups bool `json:"systemd_cgroups"`
	// UsernsMessage is told to users where the kernel refuses them a user namespace: whom to ask, what to do instead.
	UsernsMessage string `json:"userns_message"`
	// Workdir is the directory for what --contain and --scratch make; "" is memory.
	Workdir string `json:"workdir" expand:"env"`
}

// Default is what holds where no file says otherwise: what Apptainer does by
// default, with /etc/hosts and /etc/localtime of the host.
func Default() Runtime {
	return Runtime{
		Bind: []Bind{
			{Source: "/etc/localtime", IfExists: true, ReadOnly: true, Origin: "built in"},
			{Source: "/etc/hosts", IfExists: true, ReadOnly: true, Origin: "built in"},
		},
		UserBindControl: true,
		MountProc:       true, MountSys: true, MountDev: DevYes, MountDevpts: true,
		MountHome: true, MountTmp: true, MountCVMFS: true, MountSlave: true, MemoryFSType: Tmpfs,
		ConfigPasswd: true, ConfigGroup: true, ConfigResolvConf: true,
		AllowPIDNS: true, AllowIPCNS: true, AllowUTSNS: true, AllowNetNS: true,
		EnableOverlay: true, EnableFusemount: true, SystemdCgroups: true, WritableTmpfsSize: 64 << 20,
		AllowContainerDir: true,
	}
}

// Check tells which directive cannot be obeyed.
func (r *Runtime) Check() error {
	for _, p := range r.LimitContainerPaths {
		if !path.IsAbs(p) {
			return fmt.Errorf("limit_container_paths: %q is not an absolute path", p)
		}
	}
	return nil
}

// Permits tells whether an image may lie at dir, by LimitContainerPaths. dir is
// absolute and free of symbolic links.
func (r *Runtime) Permits(dir string) bool {
	if len(r.LimitContainerPaths) == 0 {
		return true
	}
	dir = path.Clean(dir)
	for _, p := range r.LimitContainerPaths {
		p = path.Clean(p)
		if dir == p || p == "/" || strings.HasPrefix(dir, p+"/") {
			return true
		}
	}
	return false
}

// Encode is the directives as JSON, for Decode in another process.
func (r Runtime) Encode() ([]byte, error) { return json.Marshal(r) }

// Decode is the reverse of Encode. What is absent has its default.
func Decode(data []byte) (Runtime, error) {
	r := Default()
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("site directives: %w", err)
	}
	return r, nil
}

// MemoryFS is a type of file system in memory.
type MemoryFS string

const (
	Tmpfs MemoryFS = "tmpfs" // bounded, and swapped out where there is swap
	Ramfs MemoryFS = "ramfs" // neither, for nodes without a disk whose memory is accounted for by other means
)

// UnmarshalText takes tmpfs and ramfs.
func (m *MemoryFS) UnmarshalText(text []byte) error {
	switch s := MemoryFS(text); s {
	case Tmpfs, Ramfs:
		*m = s
		return nil
	}
	return fmt.Errorf("%q is not one of tmpfs, ramfs", text)
}

// Dev says how much of the host's /dev a container sees.
type Dev string

const (
	DevYes     Dev = "yes"     // all of it
	DevNo      Dev = "no"      // nothing
	DevMinimal Dev = "minimal" // a new /dev with null, zero, random, tty and their like
)

// UnmarshalText takes yes, no and minimal.
func (d *Dev) UnmarshalText(text []byte) error {
	switch s := Dev(text); s {
	case DevYes, DevNo, DevMinimal:
		*d = s
		return nil
	case "true":
		*d = DevYes
		return nil
	case "false":
		*d = DevNo
		return nil
	}
	return fmt.Errorf("%q is not one of yes, no, minimal", text)
}
