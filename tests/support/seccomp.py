"""System calls that fail as on another machine: a seccomp filter for a command and all that it starts.

A filter is a program of classic BPF (seccomp(2)). It is put in effect by a Python that then executes the command.
"""

from __future__ import annotations

import platform
import socket
import struct
import sys

from support.wait import skip

IN_EFFECT = "2"  # Seccomp in /proc/PID/status: a filter is in effect
LOAD, JUMP_IF_EQUAL, JUMP_IF_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06  # codes of linux/bpf_common.h
ALLOW, ERRNO = 0x7FFF0000, 0x50000  # what a filter returns; an errno is in the low 16 bits
NUMBER_OFFSET = 0  # of the call's number in struct seccomp_data
ARGUMENTS_OFFSET = 16  # of the low half of the first argument, on a little-endian machine
ARGUMENT_BYTES = 8
CLOSE_RANGE = 436  # from 424 on, a call has the same number on every architecture
NUMBERS = {
    "x86_64": {"socket": 41, "setsockopt": 54, "prctl": 157, "fallocate": 285, "memfd_create": 319},
    "aarch64": {"socket": 198, "setsockopt": 208, "prctl": 167, "fallocate": 47, "memfd_create": 279},
}
SO_BINDTOIFINDEX = 62  # asm-generic/socket.h
INSTALL = """
import ctypes, os, struct, sys
program = ctypes.create_string_buffer(bytes.fromhex(sys.argv[1]))
header = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(program))
libc = ctypes.CDLL(None, use_errno=True)
for call in ((38, 1, 0, 0, 0), (22, 2, header, 0, 0)):  # PR_SET_NO_NEW_PRIVS; PR_SET_SECCOMP, SECCOMP_MODE_FILTER
    if libc.prctl(*call):
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[2], sys.argv[2:])
"""


def call(number, error, *, compare=JUMP_IF_EQUAL, **arguments):
    """Return the instructions that fail a call with an errno if its arguments are these: `arg1=62` is the second."""
    checks = [(NUMBER_OFFSET, compare, number)]
    for name, value in arguments.items():
        offset = ARGUMENTS_OFFSET + int(name.removeprefix("arg")) * ARGUMENT_BYTES
        checks.append((offset, JUMP_IF_EQUAL, value))
    code: list[tuple[int, int, int, int]] = []
    for left, (offset, jump, value) in enumerate(reversed(checks)):
        code[:0] = [(LOAD, 0, 0, offset), (jump, 0, 2 * left + 1, value)]
    return [*code, (RETURN, 0, 0, ERRNO | error)]


def calls_from(number, error):
    """Return the instructions that fail all calls from a number on: those that are newer."""
    return call(number, error, compare=JUMP_IF_AT_LEAST)


def number_of(name):
    """Return the number of an old call, which depends on the architecture."""
    machine = platform.machine()
    if machine not in NUMBERS:
        skip(f"the numbers of the system calls of {machine}")
    return NUMBERS[machine][name]


def option(level, name, error):
    """Return the instructions that fail setsockopt(2) for one option."""
    return call(number_of("setsockopt"), error, arg1=level, arg2=name)


def family(number, error):
    """Return the instructions that fail socket(2) for one address family."""
    return call(number_of("socket"), error, arg0=number)


def interface_index(error):
    """Return the instructions that refuse to bind a socket to an interface by its number."""
    return option(socket.SOL_SOCKET, SO_BINDTOIFINDEX, error)


def prefix(*rules):
    """Return what goes before a command, an absolute path, so that it runs under these rules."""
    code = [line for rule in rules for line in rule] + [(RETURN, 0, 0, ALLOW)]
    program = b"".join(struct.pack("HBBI", *line) for line in code)
    return [sys.executable, "-c", INSTALL, program.hex()]
