#include "answer.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

void answer(int connection)
{
	static const char text[] = "HTTP/1.0 200 OK\r\n\r\nhello from c\n";
	char request[4096];

	if (read(connection, request, sizeof request) <= 0 || write(connection, text, strlen(text)) < 0)
		perror("served");
	close(connection);
}
