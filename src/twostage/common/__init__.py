"""Utilities that every package uses: errors, files, counts as text, provenance.

`errors` (`UserError`), `storage` (atomic files, manifests), `units` (`300B` <-> 3e11), `markdown` (tables as text), `scripting`
(entry point of scripts), `provenance` (versions and git commit of a result), `revisions` (one integer per stage). Imports no
other package of the library.
"""
