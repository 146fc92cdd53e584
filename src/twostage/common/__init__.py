"""What every package uses and what knows nothing of studies: errors, files, counts as text, provenance.

`errors` (`UserError`), `storage` (atomic files), `units` (`300B` <-> 3e11), `markdown` (tables as text), `scripting` (entry
point of scripts), `extras` (names a missing optional dependency), `provenance` (versions and the commit behind a result),
`revisions` (one integer for each stage). Imports nothing else of the library.
"""
