"""The one way in which anything is read from a workdir, which may be damaged, edited, or somebody else's.

A file is opened only if it is a plain file and no link, and its content is compared with a table of what it must hold.
Nothing that is read is executed, and no name that is read leads out of the workdir. What is wrong raises
``files.Unreadable``, whose text is one line with the file and what to do.

``files`` opens and reads, ``kinds`` has the tables, ``results`` reads results.nc.
"""
