"""The init of `--init`: pid 1 of a container that reaps what nobody waits for, forwards signals to the program and ends as it does.

A static executable for x86-64, written here instruction by instruction (Intel 64 SDM volume 2; system calls: syscall(2)), for neither a
compiler nor an image is needed then. Each line of the listing is the instruction's bytes, and what they mean; `@name` stands for the
distance to a label, `0f 05` is the system call. It does, in this order:

1. blocks every signal and forks; the child gets a process group of its own, in the foreground of its terminal, and the mask
   from before, and executes the program: its own arguments from the third on, looked up in PATH;
2. waits for signals: SIGCHLD makes it reap, any other goes to the child;
3. ends with the child's exit code, or 128 and the signal's number; with 127 when there is no such program, 126 when it cannot be executed.
"""

from __future__ import annotations

import struct

__all__ = ["program"]

_BASE = 0x400000
_HEADERS = 64 + 56
_ET_EXEC, _EM_X86_64, _PT_LOAD, _READ_EXECUTE = 2, 62, 1, 5
_DATA = {
    "every": b"\xff" * 8,
    "path": b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\0",
    "prefix": b"docker-init: cannot execute ",
    "newline": b"\n",
}
_LISTING = """
# the stack: argc, argv[0] ("--" is argv[1], then the program), NULL, envp, NULL
  4c 8b 24 24             mov r12, [rsp]
  4e 8d 6c e4 10          lea r13, [rsp+r12*8+16]  # envp
  4c 8d 74 24 18          lea r14, [rsp+24]  # the program's argv
  49 83 fc 03             cmp r12, 3
  0f 8c @usage            jl usage
  48 83 ec 40             sub rsp, 64  # [rsp]: the signal mask it was started with, [rsp+8]: a status, [rsp+16]: a process group
  bf 24 00 00 00          mov edi, 36  # PR_SET_CHILD_SUBREAPER: where it is not pid 1 (--pid=host)
  be 01 00 00 00          mov esi, 1
  31 d2                   xor edx, edx
  45 31 d2                xor r10d, r10d
  45 31 c0                xor r8d, r8d
  b8 9d 00 00 00          mov eax, 157  # prctl
  0f 05                   syscall
  bf 02 00 00 00          mov edi, 2  # SIG_SETMASK
  48 8d 35 @every         lea rsi, every
  48 89 e2                mov rdx, rsp
  41 ba 08 00 00 00       mov r10d, 8
  b8 0e 00 00 00          mov eax, 14  # rt_sigprocmask
  0f 05                   syscall
  bf 11 00 00 00          mov edi, 17  # SIGCHLD
  31 f6                   xor esi, esi
  31 d2                   xor edx, edx
  45 31 d2                xor r10d, r10d
  45 31 c0                xor r8d, r8d
  b8 38 00 00 00          mov eax, 56  # clone
  0f 05                   syscall
  85 c0                   test eax, eax
  0f 88 @failed           js failed
  0f 84 @child            jz child
  89 c3                   mov ebx, eax  # the program's pid
wait:
  48 8d 3d @every         lea rdi, every
  31 f6                   xor esi, esi
  31 d2                   xor edx, edx
  41 ba 08 00 00 00       mov r10d, 8
  b8 80 00 00 00          mov eax, 128  # rt_sigtimedwait
  0f 05                   syscall
  83 f8 11                cmp eax, 17  # SIGCHLD
  0f 84 @reap             je reap
  85 c0                   test eax, eax  # interrupted
  0f 8e @wait             jle wait
  83 f8 15                cmp eax, 21  # SIGTTIN and SIGTTOU are its own: it is no more in the terminal's foreground
  0f 84 @wait             je wait
  83 f8 16                cmp eax, 22
  0f 84 @wait             je wait
  89 c6                   mov esi, eax
  89 df                   mov edi, ebx
  b8 3e 00 00 00          mov eax, 62  # kill
  0f 05                   syscall
  e9 @wait                jmp wait
reap:
  48 c7 c7 ff ff ff ff    mov rdi, -1
  48 8d 74 24 08          lea rsi, [rsp+8]
  ba 01 00 00 00          mov edx, 1  # WNOHANG
  45 31 d2                xor r10d, r10d
  b8 3d 00 00 00          mov eax, 61  # wait4
  0f 05                   syscall
  85 c0                   test eax, eax
  0f 8e @wait             jle wait
  39 d8                   cmp eax, ebx
  0f 85 @reap             jne reap
  8b 7c 24 08             mov edi, [rsp+8]
  89 f8                   mov eax, edi
  83 e0 7f                and eax, 127  # WTERMSIG
  0f 85 @signalled        jnz signalled
  c1 ef 08                shr edi, 8
  81 e7 ff 00 00 00       and edi, 255  # WEXITSTATUS
  e9 @exit                jmp exit
signalled:
  8d b8 80 00 00 00       lea edi, [rax+128]
exit:
  b8 e7 00 00 00          mov eax, 231  # exit_group
  0f 05                   syscall
usage:
  bf 01 00 00 00          mov edi, 1
  e9 @exit                jmp exit
child:
  31 ff                   xor edi, edi
  31 f6                   xor esi, esi
  b8 6d 00 00 00          mov eax, 109  # setpgid
  0f 05                   syscall
  b8 27 00 00 00          mov eax, 39  # getpid
  0f 05                   syscall
  89 44 24 10             mov [rsp+16], eax
  31 ff                   xor edi, edi
  be 10 54 00 00          mov esi, 21520  # TIOCSPGRP: into the terminal's foreground, where there is one
  48 8d 54 24 10          lea rdx, [rsp+16]
  b8 10 00 00 00          mov eax, 16  # ioctl
  0f 05                   syscall
  bf 02 00 00 00          mov edi, 2  # SIG_SETMASK
  48 89 e6                mov rsi, rsp
  31 d2                   xor edx, edx
  41 ba 08 00 00 00       mov r10d, 8
  b8 0e 00 00 00          mov eax, 14  # rt_sigprocmask
  0f 05                   syscall
  48 81 ec 00 40 00 00    sub rsp, 16384  # [rsp]: a path
  41 bc 02 00 00 00       mov r12d, 2  # ENOENT, if nothing worse happens
  4d 8b 3e                mov r15, [r14]  # the program's name
  4c 89 ff                mov rdi, r15
slash:
  8a 07                   mov al, [rdi]
  84 c0                   test al, al
  0f 84 @search           jz search
  48 ff c7                inc rdi
  3c 2f                   cmp al, 47  # '/': no search
  0f 85 @slash            jne slash
  4c 89 ff                mov rdi, r15
  4c 89 f6                mov rsi, r14
  4c 89 ea                mov rdx, r13
  b8 3b 00 00 00          mov eax, 59  # execve
  0f 05                   syscall
  f7 d8                   neg eax
  41 89 c4                mov r12d, eax
  e9 @failed              jmp failed
search:
  4c 89 ed                mov rbp, r13
variable:
  48 8b 75 00             mov rsi, [rbp]
  48 85 f6                test rsi, rsi
  0f 84 @usual            jz usual
  48 83 c5 08             add rbp, 8
  81 3e 50 41 54 48       cmp dword ptr [rsi], 1213481296  # "PATH"
  0f 85 @variable         jne variable
  80 7e 04 3d             cmp byte ptr [rsi+4], 61  # '='
  0f 85 @variable         jne variable
  48 83 c6 05             add rsi, 5
  e9 @directory           jmp directory
usual:
  48 8d 35 @path          lea rsi, path
directory:
  48 89 e7                mov rdi, rsp
copy:
  8a 06                   mov al, [rsi]
  84 c0                   test al, al
  0f 84 @joined           jz joined
  3c 3a                   cmp al, 58  # ':'
  0f 84 @joined           je joined
  88 07                   mov [rdi], al
  48 ff c7                inc rdi
  48 ff c6                inc rsi
  48 8d 84 24 00 20 00 00 lea rax, [rsp+8192]
  48 39 c7                cmp rdi, rax
  0f 82 @copy             jb copy
  e9 @failed              jmp failed
joined:
  48 39 e7                cmp rdi, rsp  # an empty one is the working directory
  0f 84 @name             je name
  c6 07 2f                mov byte ptr [rdi], 47  # '/'
  48 ff c7                inc rdi
name:
  4c 89 fa                mov rdx, r15
letter:
  8a 02                   mov al, [rdx]
  88 07                   mov [rdi], al
  48 ff c2                inc rdx
  48 ff c7                inc rdi
  48 8d 8c 24 80 3e 00 00 lea rcx, [rsp+16000]
  48 39 cf                cmp rdi, rcx
  0f 83 @failed           jae failed
  84 c0                   test al, al
  0f 85 @letter           jnz letter
  48 89 f5                mov rbp, rsi
  48 89 e7                mov rdi, rsp
  4c 89 f6                mov rsi, r14
  4c 89 ea                mov rdx, r13
  b8 3b 00 00 00          mov eax, 59  # execve
  0f 05                   syscall
  48 89 ee                mov rsi, rbp
  f7 d8                   neg eax
  83 f8 02                cmp eax, 2  # ENOENT
  0f 84 @further          je further
  83 f8 14                cmp eax, 20  # ENOTDIR
  0f 84 @further          je further
  41 89 c4                mov r12d, eax
  83 f8 0d                cmp eax, 13  # EACCES: another directory may have one that can be executed
  0f 85 @failed           jne failed
further:
  80 3e 00                cmp byte ptr [rsi], 0
  0f 84 @failed           je failed
  48 ff c6                inc rsi
  e9 @directory           jmp directory
failed:
  bf 02 00 00 00          mov edi, 2
  48 8d 35 @prefix        lea rsi, prefix
  ba 1c 00 00 00          mov edx, 28  # its length
  b8 01 00 00 00          mov eax, 1  # write
  0f 05                   syscall
  49 8b 36                mov rsi, [r14]
  48 89 f2                mov rdx, rsi
end:
  80 3a 00                cmp byte ptr [rdx], 0
  0f 84 @length           je length
  48 ff c2                inc rdx
  e9 @end                 jmp end
length:
  48 29 f2                sub rdx, rsi
  bf 02 00 00 00          mov edi, 2
  b8 01 00 00 00          mov eax, 1  # write
  0f 05                   syscall
  bf 02 00 00 00          mov edi, 2
  48 8d 35 @newline       lea rsi, newline
  ba 01 00 00 00          mov edx, 1
  b8 01 00 00 00          mov eax, 1  # write
  0f 05                   syscall
  bf 7e 00 00 00          mov edi, 126
  41 83 fc 02             cmp r12d, 2  # ENOENT
  0f 85 @exit             jne exit
  bf 7f 00 00 00          mov edi, 127
  e9 @exit                jmp exit
"""


def program() -> bytes:
    """The executable."""
    instructions = [line.partition("#")[0] for line in _LISTING.splitlines()]
    labels: dict[str, int] = {}
    for _ in range(2):  # the first pass learns where the labels are
        code = bytearray()
        for line in instructions:
            words = line[:26].split() if line.startswith("  ") else []
            for word in words:
                if word.startswith("@"):
                    code += struct.pack("<i", labels.get(word[1:], 0) - len(code) - 4)
                else:
                    code += bytes.fromhex(word)
            if line.endswith(":"):
                labels[line[:-1]] = len(code)
        end = len(code)
        for name, content in _DATA.items():
            labels[name] = end
            end += len(content)
    return _headers(end) + bytes(code) + b"".join(_DATA.values())


def _headers(size: int) -> bytes:
    """elf(5): one segment, the whole file, readable and executable."""
    total = _HEADERS + size
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header += struct.pack(
        "<HHIQQQIHHHHHH", _ET_EXEC, _EM_X86_64, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    return header + struct.pack("<IIQQQQQQ", _PT_LOAD, _READ_EXECUTE, 0, _BASE, _BASE, total, total, 0x1000)
