"""Makes system calls by number and tells the error number of each. For tests of the filter.

argv: `number[:argument[:argument...]]` for each call; `i386` makes getpid the way of 32-bit programs and tells the signal.
"""

import ctypes
import mmap
import os
import sys

libc = ctypes.CDLL(None, use_errno=True)


def by_number(words):
    number, *arguments = (ctypes.c_long(int(word, 0)) for word in words.split(":"))
    ctypes.set_errno(0)
    answer = libc.syscall(number, *arguments)
    return ctypes.get_errno() if answer == -1 else 0


def i386():
    child = os.fork()
    if child == 0:
        # mov eax, 20; int 0x80; ret
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(b"\xb8\x14\0\0\0\xcd\x80\xc3")
        ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
        os._exit(0)
    return -os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


for words in sys.argv[1:]:
    print(words, i386() if words == "i386" else by_number(words), flush=True)
