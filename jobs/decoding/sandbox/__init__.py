"""The sandbox: a decoder process gives up, for good, every right that it will not need.

```
limits      hard limits: address space, CPU time, open files, no byte written to a file, no core dump
landlock    which files may be read: those of the interpreter, its libraries and this product     Linux 5.13
seccomp     which system calls may be made: those of `system_calls`, all others fail or kill      Linux 4.14
```

A file that takes over a decoder written in C acts with the rights of its process. With the filter of system calls the
process opens no file at all, so Landlock is a second wall there; without the filter it is the only one.
"""
