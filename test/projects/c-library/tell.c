#include <stdio.h>

void tell(const char *who)
{
	printf("hello from %s\n", who);
}
