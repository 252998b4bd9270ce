"""Planted mistakes: set-ups of a platform with one mistake each, and sound ones; what `comfysoak check` makes of them.

    setup     a set-up as plain values, and one that stands: simulator, gateway, what lies between
    between   proxies that do to the traffic what proxies do by mistake
    planted   the mistakes, each with the rows that must complain and what their remedy must speak of
    sound     set-ups without a mistake
    judging   runs the command against one of them; found, missed, false

Mistakes are written from the contracts of ComfyUI and its gateways, not from the rows.
"""
