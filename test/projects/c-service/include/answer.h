#ifndef ANSWER_H
#define ANSWER_H

void answer(int connection);

#endif
