FROM ${A:}
