FROM base:1 AS first
RUN echo first > /first
FROM first AS second
RUN echo second > /second
FROM second
RUN exit 1
#: target second
