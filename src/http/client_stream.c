#include "http/client_stream.h"

bool client_stream_prepare(struct client_stream *stream, struct slab_pool *slabs)
{
    stream->heads = (struct held_slab){ 0 };
    if (!slab_reserve_init(&stream->head_reserve, slabs)) return false;
    if (slab_reserve_init(&stream->body_reserve, slabs)) return true;
    slab_reserve_release(&stream->head_reserve);
    return false;
}

void client_stream_release(struct client_stream *stream)
{
    if (stream->heads.slab) slab_drop(stream->heads.slab);
    for (struct held_slab *held = stream->heads.next; held; held = held->next) slab_drop(held->slab);
    stream->heads = (struct held_slab){ 0 };
    slab_reserve_release(&stream->head_reserve);
    slab_reserve_release(&stream->body_reserve);
    if (stream->events & CLIENT_STREAM_HEAD) body_pipe_release(&stream->response_body);
}
