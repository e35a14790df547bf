"""Everything that is decided before the first frame is painted.

In: a `Request` and the files it names. Out: a recipe (what decides the result), the frames to paint with their shots,
sizes and targets (`FramePlan`), and a frozen `ExecutionPlan` (threads, batch widths, tiles, flow method, keyframes),
which the job keeps and follows on whichever machine it is continued. Rules that the frame loop applies while it paints,
such as stopping targets and the order of chains, are here as well: they are pure functions of the plan.
"""
