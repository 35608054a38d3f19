FROM base:1
ENV A=1 B="two words" C='single $A' D=es\ caped
ENV OLD the rest  of the line
ENV E=$A${B:+plus}${MISSING:-default}
ENV F=\$A G="\$A" H=${A}b
ENV A=changed I=$A
