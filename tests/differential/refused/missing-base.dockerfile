FROM h.invalid/none:1
