"""Utilities that every package uses: errors, files, counts as text, provenance.

`errors` (`UserError`), `advice` (commands in messages), `storage` (atomic files, manifests), `units` (`300B` <-> 3e11),
`table_file` (the reader of users' tables), `conditions` (its rows that satisfy some),
`markdown` (tables as text), `scripting` (entry point of scripts), `extras` (names a
missing optional dependency), `imports` (source files that a module depends on),
`provenance` (versions and git commit of a result), `revisions` (one integer per stage), `sections` (base class of the sections
of a study file), `architecture` (shape of a model), `attention` (which attention backend serves it), `canonical` (names and
shapes of its weights). Imports no other package of the library.
"""
