RUN true
FROM scratch AS 9
