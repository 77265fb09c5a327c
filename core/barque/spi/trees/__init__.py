"""Toolbox for drivers that keep file trees on disk: unpack layer tars, pack trees into tars, compare, measure, remove.

For every plugin that wants it; nothing here is loaded unless a driver imports it. Everything treats names, link
targets and tar headers as an attacker's: paths are resolved inside a given directory descriptor, never by the host's root.

    pool, worker    jobs in processes of their own, jailed in an empty directory, which get descriptors only
    unpack          the job that unpacks a layer (`Unpack`); `extract`, `directories`, `reader`, `compression` below it
    tree, trash     measure and remove trees of any depth; remove behind the caller's back
    failures        an OSError on the driver's file system as an error of the contract
"""
