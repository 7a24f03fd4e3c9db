#include "http/message.h"

void request_head_init(struct request_head *head, struct arena *arena)
{
    *head = (struct request_head){ .version = HTTP_1_1 };
    headers_init(&head->headers, arena);
}

void response_head_init(struct response_head *head, struct arena *arena)
{
    *head = (struct response_head){ .version = HTTP_1_1 };
    headers_init(&head->headers, arena);
}
