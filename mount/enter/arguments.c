/*
 * The command line, read from /proc/self/cmdline: a constructor gets no arguments from every C library. Only enough is
 * understood to find the verb and IMAGE; what a flag means is known to Go alone.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enter.h"

/* Flags of exec, run, shell and test, by kind: s switch, v with a value, p switch and P with a value that need a plan. */
static const char *const flags[] = {
	"p:pid", "p:ipc", "p:uts", "p:net", "p:fakeroot", "p:containall", "p:compat", "p:sharens", "p:share", "p:boot",
	"P:hostname", "P:network", "P:network-args", "P:netns-path", "P:fusemount",
	"s:contain", "s:cleanenv", "s:no-home", "s:no-eval", "s:no-umask", "s:no-pid", "s:no-init", "s:no-compat",
	"s:userns", "s:writable", "s:writable-tmpfs", "s:underlay", "s:keep-privs", "s:no-privs", "s:allow-setuid",
	"s:nv", "s:nvccli", "s:rocm", "s:no-nv", "s:no-rocm", "s:compat32", "s:intel-hpu", "s:oom-kill-disable",
	"s:ignore-subuid", "s:ignore-fakeroot-command", "s:ignore-userns", "s:unsquash", "s:sif-fuse", "s:tmp-sandbox",
	"s:no-tmp-sandbox", "s:disable-cache", "s:docker-login", "s:no-https", "s:nohttps", "s:passphrase",
	"s:dmtcp-launch", "s:dmtcp-restart", "s:proot", "s:oci", "s:no-oci", "s:no-setgroups", "s:follow", "s:help",
	"s:debug", "s:verbose", "s:quiet", "s:silent", "s:nocolor",
	"v:bind", "v:mount", "v:home", "v:no-mount", "v:cwd", "v:pwd", "v:scratch", "v:workdir", "v:overlay", "v:env",
	"v:env-file", "v:no-env", "v:dns", "v:add-caps", "v:drop-caps", "v:security", "v:device", "v:cdi-dirs", "v:cpus",
	"v:cpu-shares", "v:cpuset-cpus", "v:cpuset-mems", "v:memory", "v:memory-reservation", "v:memory-swap",
	"v:pids-limit", "v:blkio-weight", "v:blkio-weight-device", "v:apply-cgroups", "v:app", "v:shell",
	"v:runscript-timeout", "v:tmpdir", "v:docker-username", "v:docker-password", "v:docker-host", "v:authfile",
	"v:pem-path", "v:pid-file", "v:data", "v:containlibs", "v:config",
};

/* One-letter flags after the verb: those with a value, those that need a plan, the others known. */
static const char short_value[] = "BHSWos";
static const char short_plan[] = "pinfC";
static const char short_switch[] = "cewuhdvq";

int enter_flag_kind(const char *name, size_t length)
{
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
		const char *f = flags[i];
		if (strlen(f + 2) == length && !memcmp(f + 2, name, length))
			return (f[0] == 'v' || f[0] == 'P' ? FLAG_VALUE : FLAG_SWITCH) | (f[0] == 'p' || f[0] == 'P' ? FLAG_PLAN : 0);
	}
	return FLAG_UNKNOWN;
}

/* Whether a list of binds names a repository that is not mounted on the host: Go has the session mount it. */
static int binds_unmounted(const char *text)
{
	char path[PATH_MAX];

	for (const char *c = text; c && (c = strstr(c, "/cvmfs/")); c += 7) {
		int end = strcspn(c + 7, "/:,");
		if (end && (size_t)snprintf(path, sizeof path, "%.*s", end + 7, c) < sizeof path && !enter_plain_directory(path))
			return 1;
	}
	return 0;
}

/* Each flag may come as an environment variable, as with Apptainer: --net is APPTAINER_NET, or by its older names. */
static int variable_needs_plan(const char *entry)
{
	static const char *const prefixes[] = { "FLATRUN_", "APPTAINER_", "SINGULARITY_" };
	char name[32];

	for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
		size_t skip = strlen(prefixes[i]), n = 0;
		if (strncmp(entry, prefixes[i], skip))
			continue;
		for (const char *c = entry + skip; *c && *c != '=' && n < sizeof name; c++)
			name[n++] = *c == '_' ? '-' : tolower(*c);
		const char *value = strchr(entry, '=');
		if (!value || !value[1])
			return 0;
		if ((n == 4 || n == 8) && !memcmp(name, "bindpath", n) && binds_unmounted(value))
			return 1;
		if (n == 8 && !memcmp(name, "fusespec", 8))
			return 1;
		return (enter_flag_kind(name, n) & FLAG_PLAN) != 0;
	}
	return 0;
}

/* Takes the flag word[i] in and returns how many words it takes. */
static int read_flag(struct arguments *a, int i)
{
	const char *word = a->word[i];

	if (word[1] == '-') {
		const char *value = strchr(word, '=');
		int kind = enter_flag_kind(word + 2, value ? (size_t)(value - word - 2) : strlen(word + 2));
		a->plan |= kind & FLAG_PLAN;
		a->unknown |= kind == FLAG_UNKNOWN;
		return (kind & FLAG_VALUE) && !value ? 2 : 1;
	}
	for (const char *c = word + 1; *c; c++) {
		if (strchr(short_value, *c))
			return c[1] ? 1 : 2; /* the value is the rest of the word, or the next one */
		if (strchr(short_plan, *c))
			a->plan = 1;
		else if (!strchr(short_switch, *c))
			a->unknown = 1;
	}
	return 1;
}

/* Skips the flags before the verb, of which only -c and --config have a value, and returns the verb's place. */
static int read_global(struct arguments *a)
{
	int i = 1;

	for (; i < a->count && a->word[i][0] == '-'; i++) {
		const char *word = a->word[i];
		const char *c = word[1] == '-' ? NULL : strchr(word, 'c');
		if (!strncmp(word, "--config=", 9))
			a->config = word + 9;
		else if (c && c[1])
			a->config = c[1] == '=' ? c + 2 : c + 1;
		else if ((c || !strcmp(word, "--config")) && i + 1 < a->count)
			a->config = a->word[++i];
	}
	return i;
}

/* The first 32 kB of the command line: an IMAGE further behind is left to Go. */
static int split_command_line(struct arguments *a)
{
	static char buffer[32 << 10];
	static char *word[1024];
	size_t length = 0;
	ssize_t n;
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	while ((n = read(fd, buffer + length, sizeof buffer - 1 - length)) > 0)
		length += n;
	close(fd);
	for (char *p = buffer; p < buffer + length && a->count < 1023; p += strlen(p) + 1)
		word[a->count++] = p;
	if (length == sizeof buffer - 1 && a->count)
		a->count--; /* the last one may be cut */
	word[a->count] = NULL;
	a->word = word;
	return 0;
}

int enter_read_arguments(struct arguments *a)
{
	static const char *const verbs[] = { "exec", "run", "shell", "test" };

	if (split_command_line(a))
		return -1;
	a->config = getenv("FLATRUN_CONFIG");
	int i = read_global(a);
	if (i >= a->count)
		return 0;
	for (size_t v = 0; v < sizeof verbs / sizeof *verbs; v++)
		a->container |= !strcmp(a->word[i], verbs[v]);
	if (!a->container)
		return 0;
	int exec = !strcmp(a->word[i], "exec");
	for (i++; i < a->count && a->word[i][0] == '-' && a->word[i][1];) {
		if (!strcmp(a->word[i], "--")) {
			i++;
			break;
		}
		int n = read_flag(a, i);
		for (int k = i; k < i + n && k < a->count; k++)
			a->plan |= binds_unmounted(a->word[k]);
		i += n;
	}
	if (i < a->count)
		a->image = a->word[i];
	if (exec && i + 1 < a->count)
		a->program = a->word[i + 1];
	for (char **e = environ; *e && !a->plan; e++)
		a->plan = variable_needs_plan(*e);
	return 0;
}

/*
 * Processes that a launcher has started beside each other on this node. They read each other's memory (CMA, xpmem, UCX),
 * which the kernel permits within one user namespace only, so such a process joins the session's even if its image
 * needs no session. The variables hold how many they are.
 */
int enter_is_rank(void)
{
	static const char *const sizes[] = {
		"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "MV2_COMM_WORLD_LOCAL_SIZE", "PALS_LOCAL_SIZE",
		"JSM_NAMESPACE_LOCAL_SIZE", "SLURM_STEP_NUM_TASKS", "FLUX_JOB_SIZE",
	};

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		const char *value = getenv(sizes[i]);
		if (value && atoi(value) > 1)
			return 1;
	}
	return 0;
}

int enter_plain_directory(const char *image)
{
	char path[PATH_MAX];
	struct stat st, above;

	if (!*image || strstr(image, "://"))
		return 0;
	/* The final "/." makes an automounter act, which stat(2) of the name alone does not. */
	if ((size_t)snprintf(path, sizeof path, "%s/.", image) >= sizeof path || stat(path, &st))
		return 0;
	if (strncmp(image, "/cvmfs/", 7))
		return 1;
	/* The mount point of a repository exists before, and in spite of, its mount. */
	const char *rest = strchr(image + 7, '/');
	if (rest && rest[1])
		return 1;
	return stat("/cvmfs", &above) == 0 && above.st_dev != st.st_dev;
}
