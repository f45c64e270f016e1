"""Past orders judged by a policy, or by several: what each would have said of last year's orders.

Not to be mixed up with `hooks.replay`, which refuses a token that was used before.

    select ─▶ gather ─▶ judge ─▶ report
    `scan` and `gather` find the orders and their patients' records (DuckDB); `judging` holds every policy against a
    row and knows no engine; `runs` spreads the rows over processes and can go on where it was stopped; `tables` and
    `report` say what came of it.
"""
