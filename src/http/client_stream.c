#include "http/client_stream.h"

void client_stream_release(struct client_stream *stream)
{
    if (stream->heads.slab) slab_drop(stream->heads.slab);
    for (struct held_slab *held = stream->heads.next; held; held = held->next) slab_drop(held->slab);
    stream->heads = (struct held_slab){ 0 };
    if (stream->events & CLIENT_STREAM_HEAD) body_pipe_release(&stream->response_body);
}
