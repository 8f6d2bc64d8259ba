ARG BASE=busybox
FROM '$BASE'
