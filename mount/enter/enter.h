/* What the C files of this package share with each other and with Go. */
#ifndef FLATRUN_ENTER_H
#define FLATRUN_ENTER_H

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

enum enter_kind { ENTER_NONE, ENTER_JOINED, ENTER_OWN, ENTER_PROCESS };

/* The outcome, read by Go's Current. */
struct enter_state {
	int kind;            /* enum enter_kind */
	int conn;            /* connection to the session, or -1 */
	int asked;           /* the session was asked for image; the answer is not read yet */
	const char *image;   /* IMAGE, if the constructor knows it */
	const char *program; /* what exec is to run there, NULL if it is not known */
	unsigned made;       /* CLONE_NEW* made besides user and mount */
	uid_t uid;           /* of the caller, outside */
	gid_t gid;
	int error;           /* errno, 0 = all went well */
	const char *step;    /* what failed */
	char plan[4096];     /* FLATRUN_ENTER as it was given, or empty */
	char dir[PATH_MAX];  /* directory of the session of this call */
};
extern struct enter_state enter_state;

/* arguments.c: the command line, as far as the constructor must understand it. */
struct arguments {
	int count;
	char **word;         /* as many words as fitted the buffer */
	int container;       /* the verb runs a container */
	const char *config;  /* value of --config or of FLATRUN_CONFIG, else NULL */
	const char *image;   /* IMAGE, NULL if not found */
	const char *program; /* the word behind it, of exec; NULL for none */
	int plan;            /* a flag or variable asks for what only Go can decide */
	int unknown;         /* a flag that the table lacks: IMAGE may be a flag's value */
};
enum flag_kind { FLAG_UNKNOWN = 0, FLAG_SWITCH = 1, FLAG_VALUE = 2, FLAG_PLAN = 4 };
int enter_read_arguments(struct arguments *a);
int enter_flag_kind(const char *name, size_t length);
int enter_plain_directory(const char *image);
int enter_is_rank(void);

/* session.c: where a session lives and how it is met. */
int enter_session_dir(const char *config, char *out, size_t size);
int enter_session_dial(const char *dir);
int enter_session_renew(int conn, const char *dir);
int enter_session_join(const char *dir, const char *image);

/* namespaces.c */
struct plan {
	int join, init, fakeroot, here;
	int detach, keep;          /* leave an init behind that keeps this descriptor */
	int linger;                /* the init stays for others that enter its namespace */
	int grace;                 /* the others are told to end before the init does */
	const char *netns;         /* network namespace to join before all others, by its path */
	unsigned flags;            /* CLONE_NEW* besides user and mount */
	pid_t process;
	const char *uids, *gids;   /* arguments for newuidmap, newgidmap; NULL = one-entry maps */
	const char *daemon;        /* program to become, detached */
};
int enter_network(const char *path);
int enter_own(const struct plan *p);
int enter_below_session(const struct plan *p);
int enter_process(pid_t pid);
int enter_keep_capabilities(int keep);

/* parent.c: the process that stays outside of a new PID namespace. Returns in the child only. */
int enter_fork(const struct plan *p);

/* instance.c: those who stay without a parent. */
int enter_fork_detached(const struct plan *p);
void enter_linger(void);
void enter_end_others(void);

/* Remembers the first failure and returns -1. */
int enter_fail(const char *step);

#endif
