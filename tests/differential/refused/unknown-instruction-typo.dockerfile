FROM scratch
CPOY a b
