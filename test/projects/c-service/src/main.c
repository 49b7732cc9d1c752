#include "answer.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

int main(int count, char **words)
{
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons(count > 1 ? atoi(words[1]) : 80) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
	if (bind(listener, (struct sockaddr *)&here, sizeof here) < 0 || listen(listener, 16) < 0) {
		perror("served");
		return 1;
	}
	for (;;) {
		int connection = accept(listener, NULL, NULL);

		if (connection >= 0)
			answer(connection);
	}
}
