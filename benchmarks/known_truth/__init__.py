"""Series, queues and runs whose truth is known: how often each statistical method is wrong, and how much it finds.

One file a method, each with `rates(share)`: what it says of so many cases, or a `share` of them. All go through the
functions that findings, goals and comparisons use. Each case is drawn from a seed of its own.
"""
