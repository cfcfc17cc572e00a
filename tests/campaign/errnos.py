"""Which system calls are failed, and how: the errnos that each manual page (section 2) names under ERRORS.

Left out are EFAULT, and of the rest what only a wrong argument gives (EBADF, ENOTSOCK, EISDIR, ...) where a kernel, a
file system or a security module could not answer so to a right one either.
"""

from __future__ import annotations

# Not failed: they cannot fail (getpid, exit_group), nobody sees their failure (rt_sigreturn), or the C library aborts
# the process (futex). kill(2) and its kin are left alone: a signal must not go elsewhere.
NAMES = (
    "alarm exit exit_group futex getegid geteuid getgid getpid getppid gettid getuid kill pidfd_send_signal "
    "restart_syscall "
    "rseq rt_sigreturn set_robust_list set_tid_address tgkill tkill umask"
)
NEVER = frozenset(NAMES.split())

PATH = "EACCES ELOOP EMFILE ENAMETOOLONG ENFILE ENOENT ENOMEM ENOTDIR"
STAT = "EACCES ELOOP ENOENT ENOMEM EOVERFLOW"
MAP = "ENOMEM EAGAIN EACCES ENFILE ENODEV EPERM"
SOCKET_OPTION = "ENOPROTOOPT EINVAL ENOMEM EPERM ENOBUFS"

ERRNOS = {
    name: errnos.split()
    for names, errnos in {
        "accept4 accept": "EAGAIN ECONNABORTED EINTR EMFILE ENFILE ENOBUFS ENOMEM EPERM EPROTO ETIMEDOUT",
        "access faccessat2": "EACCES EIO ELOOP ENOENT ENOMEM EROFS",
        "arch_prctl prctl": "EINVAL EPERM",
        "bind": "EACCES EADDRINUSE EADDRNOTAVAIL EINVAL ENOMEM",
        "brk": "ENOMEM",
        "chdir": "EACCES EIO ENOENT ENOMEM",
        "clone clone3 fork vfork": "EAGAIN ENOMEM EPERM ENOSYS",
        "close": "EIO EINTR ENOSPC EDQUOT EBADF",
        "close_range": "ENOSYS EMFILE ENOMEM EINVAL EPERM",
        "connect": "EACCES EAGAIN ECONNREFUSED EINTR ENETUNREACH EPROTOTYPE ETIMEDOUT",
        "dup dup2 dup3": "EBUSY EINTR EMFILE",
        "epoll_create1": "EMFILE ENFILE ENOMEM",
        "epoll_ctl": "ENOMEM ENOSPC EPERM",
        "epoll_wait epoll_pwait ppoll select pselect6": "EINTR EINVAL ENOMEM",
        "execve": "",
        "fallocate": "EDQUOT EFBIG EINTR EIO ENODEV ENOSPC ENOSYS EOPNOTSUPP EPERM",
        "fchmod chmod": "EIO EPERM EROFS",
        "fchown chown": "EIO ENOMEM EPERM EROFS",
        "fcntl": "EACCES EAGAIN EINTR EINVAL EMFILE ENOLCK EPERM",
        "flock": "EINTR ENOLCK EWOULDBLOCK",
        "fstat stat lstat newfstatat statx": STAT,
        "fsync fdatasync": "EDQUOT EINTR EIO ENOSPC EROFS",
        "ftruncate": "EACCES EFBIG EINTR EINVAL EIO EPERM EROFS ETXTBSY",
        "getdents64": "EINVAL ENOENT",
        "getpeername getsockname": "EINVAL ENOBUFS ENOTCONN",
        "getrandom": "EAGAIN EINTR ENOSYS",
        "getsockopt setsockopt": SOCKET_OPTION,
        "ioctl": "EINVAL ENOTTY",
        "kcmp": "ENOSYS EPERM",
        "listen": "EADDRINUSE EOPNOTSUPP",
        "lseek": "EINVAL EOVERFLOW ESPIPE",
        "madvise": "EAGAIN EINVAL ENOMEM EPERM",
        "memfd_create": "EINVAL EMFILE ENFILE ENOMEM",
        "mmap": MAP,
        "mprotect": "EACCES EINVAL ENOMEM",
        "mremap": "EAGAIN EINVAL ENOMEM",
        "munmap": "EINVAL ENOMEM",
        "open openat": f"{PATH} EBUSY EDQUOT EINTR EIO ENODEV ENOSPC ENXIO EPERM EROFS ETXTBSY",
        "pidfd_open": "EMFILE ENFILE ENODEV ENOMEM ESRCH",
        "pipe pipe2 socketpair": "EMFILE ENFILE",
        "poll": "EINTR EINVAL ENOMEM",
        "pread64 read readv": "EAGAIN EINTR EIO",
        "prlimit64": "EPERM EINVAL",
        "pwrite64 write writev": "EAGAIN EDQUOT EFBIG EINTR EIO ENOSPC EPERM EPIPE",
        "readlink readlinkat": "EACCES EINVAL EIO ENOENT ENOMEM",
        "recvfrom recvmsg": "EAGAIN ECONNREFUSED ECONNRESET EINTR ENOMEM ENOTCONN",
        "rename renameat renameat2": "EACCES EDQUOT EIO ENOSPC EPERM EROFS",
        "rt_sigaction rt_sigprocmask sigaltstack": "EINVAL",
        "sched_getaffinity sysinfo uname": "EPERM",
        "sendto sendmsg": "EACCES EAGAIN ECONNREFUSED ECONNRESET EINTR EMSGSIZE ENOBUFS ENOMEM ENOTCONN EPIPE",
        "setgroups": "EINVAL ENOMEM EPERM",
        "setitimer timer_settime": "EINVAL",
        "setresgid setresuid": "EAGAIN EINVAL EPERM",
        "shutdown": "EINVAL ENOTCONN ENOBUFS",
        "socket": "EACCES EAFNOSUPPORT EMFILE ENFILE ENOBUFS ENOMEM EPROTONOSUPPORT",
        "statfs fstatfs": "EACCES EINTR EIO ENOENT ENOMEM ENOSYS",
        "unlink unlinkat": "EACCES EBUSY EIO ENOENT ENOMEM EPERM EROFS",
        "wait4 waitid": "ECHILD EINTR EINVAL",
    }.items()
    for name in names.split()
}
