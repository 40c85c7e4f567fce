// Package singularity knows the conventions of Singularity images: environment, scripts, default commands.
//
// Prepare turns what a front end was asked to run into the final words and
// environment of the process, as Apptainer 1.4 would:
//
//  1. The host's variables pass, but for PATH, HOME, LD_LIBRARY_PATH and those
//     that belong to the runtime; --cleanenv leaves TERM and the proxies.
//  2. The image's scripts (.singularity.d/env/*.sh, or /environment of images
//     older than Singularity 2.3, or the Env of an OCI configuration) run with
//     hardly a variable set, so that they see their image and not the host.
//  3. --env, --env-file, APPTAINERENV_X and SINGULARITYENV_X are set, in this
//     order of strength, each value evaluated as in double quotes unless
//     --no-eval is given.
//  4. Variables of the host that nothing above set are set again.
//
// The scripts are interpreted in this process, before the container exists,
// with no command but the shell's own and no file but the image's. A script that
// needs more (a program's output, a file below /tmp, umask) cannot be judged
// from here: then the whole of it is left to the image's own shell, as the first
// thing that runs in the container (see action.go). So the answer is either
// Apptainer's or made by the image's own programs; only the cost differs.
//
// Files of the image that are opened at start, in this order:
//
//	.                             the root, once, as the base of all look-ups
//	.singularity.d/env            listed; absent: environment, then nothing
//	.singularity.d/env/*.sh       each read once, but for 99-runtimevars.sh,
//	                              which the runtime brings itself
//	.singularity.d/libs           listed if a script left it as the only
//	                              library directory, as 99-base.sh does
//
// and one look without opening for what is run: nothing for exec, the run script
// for run, the shells for shell.
package singularity
