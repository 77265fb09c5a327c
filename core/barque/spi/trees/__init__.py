"""Toolbox for drivers that keep file trees on disk: unpack layer tars, pack trees into tars, compare, measure, remove.

For every plugin that wants it; nothing here is loaded unless a driver imports it. Everything treats names, link
targets and tar headers as an attacker's: paths are resolved inside a given directory descriptor, never by the host's root.

    pool, worker    jobs in processes of their own, jailed in an empty directory, which get descriptors only
    jobs            what the daemon tells them; it imports none of the job modules
    streaming       a worker's output through a pipe to a function of the caller's
    inflate         the job that decompresses a file (gzip, zstd, bzip2, xz); `magic` tells which it is
    unpack          the job that unpacks a layer; `extract`, `directories`, `reader`, `naming`, `compression` below it
    verify          the job that compares a layer with its tar; `expected`, `compare`, `content` below it
    packing         trees into tars (`Packer`), for the jobs of drivers; `tarwriter`, `entries`, `descent`, `holes` below it
    views           a directory's own mount only, and no device of it
    places          a driver's directories, in which everything appears and disappears by one rename
    layerstore      unpacked layers in such places (`LayerStore`: apply, list, verify, remove)
    merging         layers copied together into one directory (`Merger`); `union`, `merge`, `copying`, `whiteouts` below it
    idmap           mounts with shifted owners: how to ask for one, whether this host has them
    tree, trash     measure and remove trees of any depth; remove behind the caller's back
    failures        an OSError on the driver's file system as an error of the contract
"""
