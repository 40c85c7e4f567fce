/* Where the session of this call lives, and how the process joins it over its socket. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "enter.h"

#define INITIAL_USER_NAMESPACE 0xEFFFFFFDu /* PROC_USER_INIT_INO, part of the kernel's interface */
#define MOVE_MOUNT_EMPTY_PATH 0x4          /* MOVE_MOUNT_F_EMPTY_PATH, absent from older headers */

/* Batch systems by the variables that name a job step; the first whose first variable is set counts. */
static const struct { const char *name, *job, *step; } batch[] = {
	{ "slurm", "SLURM_JOB_ID", "SLURM_STEP_ID" },
	{ "condor", "_CONDOR_SLOT", "_CONDOR_SCRATCH_DIR" },
	{ "pbs", "PBS_JOBID", NULL },
	{ "lsf", "LSB_JOBID", "LSB_JOBINDEX" },
	{ "flux", "FLUX_JOB_ID", NULL },
};

/* What else makes a configuration another one: config.Overrides, and where the user's file lies. A test compares. */
static const char *const overrides[] = {
	"FLATRUN_CACHE_DIR", "FLATRUN_CACHE_LIMIT", "FLATRUN_CACHE_LOWER", "FLATRUN_SESSION_IDLE", "FLATRUN_DEFAULT_REGISTRY",
	"FLATRUN_SEARCH", "FLATRUN_HTTP_PROXY", "FLATRUN_FALLBACK_PROXY", "FLATRUN_TIMEOUT", "FLATRUN_DEADLINE",
	"FLATRUN_CA_BUNDLE", "FLATRUN_NATIVE", "FLATRUN_CVMFS_DIR", "FLATRUN_PREFETCH", "XDG_CONFIG_HOME",
};

/* FNV-1a: short, and nothing here must withstand an adversary, as the directory is the user's own. */
#define HASH_START 0xcbf29ce484222325u
static uint64_t hash(uint64_t h, const char *s)
{
	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 0x100000001b3u;
	return (h ^ '\n') * 0x100000001b3u;
}

static void append(char *out, size_t size, const char *word)
{
	size_t n = strlen(out);

	for (size_t i = 0; word[i] && i < 48 && n + 1 < size; i++)
		out[n++] = isalnum((unsigned char)word[i]) || strchr("._-", word[i]) ? word[i] : '_';
	out[n] = 0;
}

static void append_hash(char *out, size_t size, uint64_t h)
{
	char hex[16];

	snprintf(hex, sizeof hex, "-%08x", (unsigned)(h ^ h >> 32));
	append(out, size, hex);
}

/* The last element: job step, user namespace if it is not the machine's (a container in a container has its own
 * sessions: it could not enter those of outside), and the configuration. */
static void session_key(const char *config, char *out, size_t size)
{
	struct stat st;
	char real[PATH_MAX];

	out[0] = 0;
	for (size_t i = 0; i < sizeof batch / sizeof *batch && !out[0]; i++) {
		const char *job = getenv(batch[i].job), *step = batch[i].step ? getenv(batch[i].step) : NULL;
		if (!job || !*job)
			continue;
		append(out, size, batch[i].name);
		append(out, size, "-");
		append(out, size, job);
		if (step && *step == '/') {
			append_hash(out, size, hash(HASH_START, step));
		} else if (step) {
			append(out, size, ".");
			append(out, size, step);
		}
	}
	if (!out[0])
		append(out, size, "login");
	if (stat("/proc/self/ns/user", &st) == 0 && st.st_ino != INITIAL_USER_NAMESPACE) {
		char ns[24];
		snprintf(ns, sizeof ns, "-u%lu", (unsigned long)st.st_ino);
		append(out, size, ns);
	}
	uint64_t h = HASH_START;
	if (config && *config)
		h = hash(h, realpath(config, real) ? real : config);
	for (size_t i = 0; i < sizeof overrides / sizeof *overrides; i++) {
		const char *value = getenv(overrides[i]);
		if (value && *value)
			h = hash(hash(h, overrides[i]), value);
	}
	if (h != HASH_START)
		append_hash(out, size, h);
}

static int is_ours(const struct stat *st)
{
	return S_ISDIR(st->st_mode) && st->st_uid == geteuid() && (st->st_mode & 077) == 0;
}

int enter_session_dir(const char *config, char *out, size_t size)
{
	char key[256];
	struct stat st;
	const char *run = getenv("XDG_RUNTIME_DIR");
	int n;

	session_key(config, key, sizeof key);
	if (run && run[0] == '/' && stat(run, &st) == 0 && is_ours(&st))
		n = snprintf(out, size, "%s/flatrun/%s", run, key);
	else
		n = snprintf(out, size, "/tmp/flatrun-%u/%s", (unsigned)geteuid(), key);
	if (n < 0 || (size_t)n >= size) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return 0;
}

/*
 * Opens the session directory and returns a descriptor, or -1. /tmp belongs to everybody: neither the directory of all
 * sessions nor the session's own may be a link or anybody else's.
 */
static int open_dir(const char *dir)
{
	char parent[PATH_MAX];
	struct stat st;
	const char *name = strrchr(dir, '/');

	snprintf(parent, sizeof parent, "%.*s", (int)(name - dir), dir);
	int above = open(parent, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (above < 0)
		return -1;
	int fd = -1;
	if (fstat(above, &st) == 0 && is_ours(&st))
		fd = openat(above, name + 1, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	close(above);
	if (fd >= 0 && (fstat(fd, &st) || !is_ours(&st))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* Connects to dir/socket, which may be longer than a socket's address, by way of the directory's descriptor. */
int enter_session_dial(const char *dir)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_usec = 500000 }; /* see receive; Go sets its own */
	struct ucred peer;
	socklen_t length = sizeof peer;
	int where = open_dir(dir);

	if (where < 0)
		return -1;
	snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/socket", where);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address)) {
		close(fd);
		fd = -1;
	}
	close(where);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) || peer.uid != geteuid()) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Whether a word can stand in a JSON string as it is, in n bytes. */
static int is_plain(const char *word, size_t n)
{
	if (!word || strlen(word) >= n)
		return 0;
	for (const char *c = word; *c; c++)
		if (*c < ' ' || *c >= 0x7f || *c == '"' || *c == '\\')
			return 0;
	return 1;
}

/*
 * Asks to join, and in the same breath for the image, if its name needs no quoting: the session looks it up while Go
 * starts, and is woken once instead of twice. It is told of the program too, which it may fetch ahead.
 */
static int ask(int conn, const char *image)
{
	char request[8192];
	int n = snprintf(request, sizeof request, "{\"op\":\"join\"}\n");

	if (is_plain(image, 4000)) {
		const char *program = is_plain(enter_state.program, 4000) ? enter_state.program : "";
		n += snprintf(request + n, sizeof request - n, "{\"op\":\"resolve\",\"name\":\"%s\",\"program\":\"%s\"}\n", image, program);
		enter_state.asked = 1;
	}
	return send(conn, request, n, MSG_NOSIGNAL) == n ? 0 : -1;
}

/* Whether the process that listens is stopped: it will not answer. */
static int stopped(int conn)
{
	struct ucred peer;
	socklen_t length = sizeof peer;
	char path[32], stat[128] = "";

	if (getsockopt(conn, SOL_SOCKET, SO_PEERCRED, &peer, &length))
		return 0;
	snprintf(path, sizeof path, "/proc/%d/stat", (int)peer.pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, stat, sizeof stat - 1);
	close(fd);
	return n > 0 && strstr(stat, ") T ") != NULL;
}

#define PATIENCE 6 /* half seconds; then Go looks what is the matter, see startPatience */

/* Receives the session's user namespace and a fresh copy of its tree of mounts. */
static int receive(int conn, int fds[2])
{
	char reply;
	struct iovec data = { &reply, 1 };
	union { struct cmsghdr align; char room[CMSG_SPACE(2 * sizeof(int))]; } control;
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };

	ssize_t n;
	int waited = 0;
	do
		n = recvmsg(conn, &message, MSG_CMSG_CLOEXEC);
	while (n < 0 && (errno == EINTR || (errno == EAGAIN && ++waited < PATIENCE && !stopped(conn))));
	struct cmsghdr *c = n == 1 ? CMSG_FIRSTHDR(&message) : NULL;
	if (!c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(2 * sizeof(int)) || reply != 'j') {
		if (n >= 0)
			errno = ECONNRESET; /* it was just ending, and starting another one is right */
		return -1;
	}
	memcpy(fds, CMSG_DATA(c), 2 * sizeof(int));
	return 0;
}

static int attach(int tree, const char *dir)
{
	char target[PATH_MAX + 8];

	snprintf(target, sizeof target, "%s/cvmfs", dir);
	return syscall(SYS_move_mount, tree, "", AT_FDCWD, target, MOVE_MOUNT_EMPTY_PATH);
}

/* Attaches a new copy of the tree over the one that there is. */
int enter_session_renew(int conn, const char *dir)
{
	int fds[2];

	if (ask(conn, NULL) || receive(conn, fds))
		return -1;
	int failed = attach(fds[1], dir);
	int error = errno;
	close(fds[0]);
	close(fds[1]);
	errno = error;
	return failed;
}

int enter_session_join(const char *dir, const char *image)
{
	int fds[2];
	int conn = enter_session_dial(dir);

	if (conn < 0)
		return -1; /* no session: no failure, Go starts one */
	if (ask(conn, image) || receive(conn, fds)) {
		enter_state.asked = 0;
		close(conn);
		return -1; /* it is just ending, or hangs: Go finds out */
	}
	/* The caller's own mounts are copied, rather than the session's: a job may have a /tmp of its own. Only the tree of repositories comes from the session. */
	if (setns(fds[0], CLONE_NEWUSER))
		enter_fail("enter the session's user namespace");
	else if (unshare(CLONE_NEWNS))
		enter_fail("create a mount namespace");
	else if (attach(fds[1], dir))
		enter_fail("attach the session's repositories");
	close(fds[0]);
	close(fds[1]);
	if (enter_state.error) {
		close(conn);
		return -1;
	}
	enter_state.conn = conn;
	enter_state.kind = ENTER_JOINED;
	return 0;
}
