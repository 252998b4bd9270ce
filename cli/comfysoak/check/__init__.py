"""Is this ComfyUI integration sound? The checklist of a platform team, answered row by row.

    settings -> parts, in order: each looks, and yields rows -> output
                (what one learns, the next knows)

`rows` has every row there is; `row` what came of one; `checking` what the parts share; `parts` the looking itself;
`output` how the rows are told; `monitor` stays and looks again.
"""
