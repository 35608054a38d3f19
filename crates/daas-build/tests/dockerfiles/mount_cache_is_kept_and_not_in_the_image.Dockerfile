FROM base:1
RUN --mount=type=cache,target=/cache,id=mount_cache_is_kept_and_not_in_the_image echo kept > /cache/file
RUN --mount=type=cache,target=/cache,id=mount_cache_is_kept_and_not_in_the_image cat /cache/file > /seen
RUN --mount=type=cache,target=/owned,id=mount_cache_is_kept_and_not_in_the_image-owned,uid=1000,gid=50,mode=0770 busybox stat -c '%u %g %a' /owned > /stat
#: judge buildkit
#: old /cache 20.10 leaves the folder of a mount behind
#: old /owned 20.10 leaves the folder of a mount behind
#: old /stat 20.10 does not give the cache its owner
