/* Pictures of graphs by Graphviz's program dot. */
#ifndef CLI_GRAPHVIZ_H
#define CLI_GRAPHVIZ_H

#include "command.h"

/* The picture of a graph in DOT as an SVG file, whole or not at all. DONE, or a complaint was made. */
int graphviz_svg(const char *dot, const char *path);

#endif
