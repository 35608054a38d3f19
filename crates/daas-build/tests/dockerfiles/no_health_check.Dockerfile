FROM rich:1
HEALTHCHECK NONE
#: old Healthcheck the classic builder keeps the times of the base
