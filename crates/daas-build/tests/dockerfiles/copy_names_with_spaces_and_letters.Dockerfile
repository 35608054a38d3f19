FROM base:1
COPY ["names/sp ace.txt", "/with space/"]
COPY names /names
