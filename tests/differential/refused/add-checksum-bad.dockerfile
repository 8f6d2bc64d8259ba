FROM scratch
ADD --checksum=md5:1 https://h.invalid/x /
