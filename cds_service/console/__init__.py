"""Pages for people: write an order and see its cards, read the protocol, watch the alerts.

They are an application of their own in a process of its own, so that a page never costs an order.
"""
