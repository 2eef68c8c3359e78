/* SPDX-License-Identifier: Apache-2.0 */
/* Causal attention of bf16 and fp16 by cuDNN's fused graphs, where cuDNN does the shape; own kernels
 * (attention.cu) do all else. Built with --with-cudnn-frontend alone: the frontend is headers of C++,
 * so this file is, and libcudnn is opened when the first stream asks, so that a missing one is only a
 * reason for own kernels. No exception leaves the file.
 *
 * A stream keeps the graphs of the shapes that it has seen, forward and backward apart. Which way a
 * shape takes depends on cuDNN and the GPU alone, never on what memory is free, so that a repeated run
 * takes the same. Both ways keep the same logsumexp (natural, of scaled scores), so one may do the
 * forward pass and the other the backward.
 *
 * The backward graph is the deterministic one. On GPUs before Blackwell, and with cuDNN before 9.25
 * on Hopper, it keeps dP of all heads at once in its workspace, T^2 of 2 bytes each. Heads do not depend
 * on each other, so a graph is made for as many sequences, or heads of one, as WORKSPACE_AIM takes,
 * and run several times. */
#include "device/cuda/cuda.h"

extern "C" {
#include "base/log.h"
}
#include <dlfcn.h>

/* The frontend would take the first CUDA runtime of any version that it finds; this process has one. */
static void *open_library(const char *name, int mode)
{
    static const char ours[] = "libcudart.so.";
    const int digits = sizeof ours - 1;
    if (strncmp(name, ours, digits) == 0 && atoi(name + digits) != CUDART_VERSION / 1000)
        return nullptr;
    return dlopen(name, mode);
}

#define dlopen(name, mode) open_library(name, mode)
#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#define CUDNN_FRONTEND_SKIP_JSON_LIB
#include <cudnn_frontend.h>
#undef dlopen
#include <list>
#include <memory>
#include <mutex>
#include <set>
#include <string>

namespace fe = cudnn_frontend;
using fe::graph::Graph;
using fe::graph::Tensor_attributes;

/* Of libcudnn, where the frontend looks for it. */
void *fe::cudnn_dlhandle;

/* Bytes of workspace: more is cut; more than the most, of the tenth of a device that memory.device:
 * auto leaves, is not taken. */
static const int64_t WORKSPACE_AIM = (int64_t)256 << 20, WORKSPACE_MOST = (int64_t)1 << 30;

/* Names of tensors within a graph. */
enum place { Q = 1, K, V, O, LOGSUMEXP, D_O, DQ, DK, DV };

/* What tells one graph from another. */
struct shape {
    int64_t sequences, tokens, heads, key_heads, width, ld, ld_o, ld_qk, window;
    float scale, cap;
    enum zi_dtype type;
    bool aligned, backward;

    bool operator==(const shape &s) const
    {
        return sequences == s.sequences && tokens == s.tokens && heads == s.heads &&
               key_heads == s.key_heads && width == s.width && ld == s.ld && ld_o == s.ld_o &&
               ld_qk == s.ld_qk && window == s.window && scale == s.scale && cap == s.cap &&
               type == s.type && aligned == s.aligned && backward == s.backward;
    }
};

/* How a shape is done. */
struct attention_plan {
    struct shape shape;
    /* None: by own kernels. */
    std::unique_ptr<Graph> graph;
    /* What one run of the graph does of the shape's. */
    int64_t sequences, key_heads;
    int64_t workspace;
};

struct cuda_attention {
    /* None: cuDNN cannot be had. */
    cudnnHandle_t handle;
    void *workspace;
    int64_t bytes;
    std::list<attention_plan> plans;
};

/* Says once in a process what has been decided. */
static void say(const std::string &text)
{
    static std::mutex mutex;
    static std::set<std::string> said;
    std::lock_guard<std::mutex> lock(mutex);
    if (said.insert(text).second) zi_log(ZI_LOG_NOTE, "cuda", "attention: %s", text.c_str());
}

/* Opens libcudnn for the process; why it cannot be had, or "". */
static const std::string &open_cudnn()
{
    static const std::string why = [] {
        const std::string name = "libcudnn.so." + std::to_string(CUDNN_MAJOR);
        fe::cudnn_dlhandle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
        const char *error = fe::cudnn_dlhandle ? nullptr : dlerror();
        return std::string(error ? error : "");
    }();
    return why;
}

/* cuDNN has a line, or several, for each way that it has tried. */
static std::string first_line(const std::string &text)
{
    return text.substr(0, text.find('\n'));
}

/* What cuDNN says of an error that it has just given. */
static std::string reason_of(cudnnStatus_t status)
{
    return std::string(fe::detail::get_error_string(status)) + ", " +
           first_line(fe::detail::get_last_error_string_());
}

/* Makes cuDNN's handle for the stream; why there is none, or "". */
static std::string connect(cuda_attention &attention, cudaStream_t stream)
{
    if (!open_cudnn().empty()) return open_cudnn();
    cudnnHandle_t handle = nullptr;
    cudnnStatus_t status = fe::detail::create_handle(&handle);
    if (status != CUDNN_STATUS_SUCCESS) return reason_of(status);
    status = fe::detail::set_stream(handle, stream);
    if (status == CUDNN_STATUS_SUCCESS)
        attention.handle = handle;
    else
        (void)fe::detail::destroy_handle(handle);
    return status == CUDNN_STATUS_SUCCESS ? "" : reason_of(status);
}

/* What the stream has of cuDNN, made when it is asked for first. */
static cuda_attention &attention_of(struct cuda_stream *stream)
{
    if (stream->attention) return *stream->attention;
    std::string why;
    stream->attention = new cuda_attention();
    try {
        why = connect(*stream->attention, stream->stream);
    } catch (const std::exception &error) { /* a function that this libcudnn lacks */
        why = error.what();
    }
    if (!stream->attention->handle) say("own kernels, because cuDNN cannot be had: " + why);
    return *stream->attention;
}

/* The heads of `sequences` sequences in rows of ld: {B,H,T,D}. */
static Tensor_attributes rows_of(const shape &s, int64_t sequences, int64_t heads, int64_t ld,
                                 enum place place)
{
    return Tensor_attributes()
        .set_uid(place)
        .set_dim({sequences, heads, s.tokens, s.width})
        .set_stride({s.tokens * ld, s.width, ld, 1});
}

/* fp32, {B,H,T,1}, packed. */
static Tensor_attributes logsumexp_of(const shape &s, int64_t sequences, int64_t heads)
{
    return Tensor_attributes()
        .set_uid(LOGSUMEXP)
        .set_dim({sequences, heads, s.tokens, 1})
        .set_stride({heads * s.tokens, s.tokens, 1, 1})
        .set_data_type(fe::DataType_t::FLOAT);
}

/* Says where a result of a graph goes. */
static void put(const std::shared_ptr<Tensor_attributes> &result, const Tensor_attributes &place)
{
    result->set_output(true)
        .set_uid(place.get_uid())
        .set_dim(place.get_dim())
        .set_stride(place.get_stride());
}

static void describe_forward(Graph &graph, const attention_plan &p, float scale)
{
    const shape &s = p.shape;
    const int64_t heads = p.key_heads * (s.heads / s.key_heads);
    auto q = graph.tensor(rows_of(s, p.sequences, heads, s.ld_qk, Q));
    auto k = graph.tensor(rows_of(s, p.sequences, p.key_heads, s.ld_qk, K));
    auto v = graph.tensor(rows_of(s, p.sequences, p.key_heads, s.ld, V));
    auto results = graph.sdpa(q, k, v,
                              fe::graph::SDPA_attributes()
                                  .set_name("attention")
                                  .set_generate_stats(true)
                                  .set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
                                  .set_diagonal_band_right_bound(0)
                                  .set_attn_scale(scale));
    put(results[0], rows_of(s, p.sequences, heads, s.ld_o, O));
    put(results[1], logsumexp_of(s, p.sequences, heads));
    results[1]->set_data_type(fe::DataType_t::FLOAT);
}

static void describe_backward(Graph &graph, const attention_plan &p, float scale)
{
    const shape &s = p.shape;
    const int64_t heads = p.key_heads * (s.heads / s.key_heads);
    auto q = graph.tensor(rows_of(s, p.sequences, heads, s.ld_qk, Q));
    auto k = graph.tensor(rows_of(s, p.sequences, p.key_heads, s.ld_qk, K));
    auto v = graph.tensor(rows_of(s, p.sequences, p.key_heads, s.ld, V));
    auto o = graph.tensor(rows_of(s, p.sequences, heads, s.ld_o, O));
    auto d_o = graph.tensor(rows_of(s, p.sequences, heads, s.ld_o, D_O));
    auto logsumexp = graph.tensor(logsumexp_of(s, p.sequences, heads));
    auto results =
        graph.sdpa_backward(q, k, v, o, d_o, logsumexp,
                            fe::graph::SDPA_backward_attributes()
                                .set_name("attention_backward")
                                .set_deterministic_algorithm(true)
                                .set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
                                .set_diagonal_band_right_bound(0)
                                .set_attn_scale(scale));
    put(results[0], rows_of(s, p.sequences, heads, s.ld, DQ));
    put(results[1], rows_of(s, p.sequences, p.key_heads, s.ld, DK));
    put(results[2], rows_of(s, p.sequences, p.key_heads, s.ld, DV));
}

/* Has cuDNN make the graph; why it does not, or "". */
static std::string build(const cuda_attention &attention, attention_plan &p)
{
    auto graph = std::make_unique<Graph>();
    const float scale = p.shape.scale > 0.0f ? p.shape.scale : 1.0f / sqrtf((float)p.shape.width);
    graph
        ->set_io_data_type(p.shape.type == ZI_BF16 ? fe::DataType_t::BFLOAT16
                                                   : fe::DataType_t::HALF)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    if (p.shape.backward)
        describe_backward(*graph, p, scale);
    else
        describe_forward(*graph, p, scale);
    fe::error_t error = graph->build(attention.handle, {fe::HeurMode_t::A});
    if (error.is_good()) error = graph->get_workspace_size(p.workspace);
    if (error.is_bad()) return first_line(error.get_message());
    p.graph = std::move(graph);
    return "";
}

/* The least divisor of count that is `parts` or more; count where there is none. */
static int64_t divisor_from(int64_t count, int64_t parts)
{
    while (parts < count && count % parts)
        parts++;
    return parts < count ? parts : count;
}

/* Cuts what a run does so that its workspace, which goes with its heads, is no larger than the aim, or
 * that of one key head. */
static void cut(attention_plan &p)
{
    int64_t parts = (p.workspace + WORKSPACE_AIM - 1) / WORKSPACE_AIM;
    int64_t of_sequences = divisor_from(p.sequences, parts);
    int64_t of_heads = divisor_from(p.key_heads, (parts + of_sequences - 1) / of_sequences);
    p.sequences /= of_sequences;
    p.key_heads /= of_heads;
}

/* Why cuDNN is not asked for a shape, or "". */
static std::string unfit(const shape &s)
{
    if (!zi_dtype_is_half(s.type)) return std::string("type ") + zi_dtype_name(s.type);
    if (s.width < 1 || s.width % 8) return "heads are no multiples of 8 wide";
    if (s.key_heads < 1 || s.heads % s.key_heads) return "key heads do not divide heads";
    if (s.window > 0) return "attention has a window of " + std::to_string(s.window) + " tokens";
    if (s.cap > 0.0f) return "scores have a cap";
    if (!s.aligned) return "rows are not at multiples of 16 bytes";
    return "";
}

/* Plans a shape: a graph whose workspace is not too large, or why there is none. */
static std::string choose(const cuda_attention &attention, attention_plan &p)
{
    std::string why = unfit(p.shape);
    if (why.empty()) why = build(attention, p);
    if (why.empty() && p.workspace > WORKSPACE_AIM && p.shape.tokens % 4 == 0) {
        cut(p);
        why = build(attention, p);
    }
    if (why.empty() && p.workspace > WORKSPACE_MOST)
        why = "a workspace of " + std::to_string(p.workspace >> 20) + " MiB is too large";
    if (!why.empty()) p.graph.reset();
    return why;
}

/* cuDNN's version as people write it. */
static std::string version()
{
    size_t number = fe::detail::get_backend_version();
    return std::to_string(number / 10000) + "." + std::to_string(number / 100 % 100) + "." +
           std::to_string(number % 100);
}

/* The plan of a shape, made when it is asked for first; those in use come to the front. */
static attention_plan &find(cuda_attention &attention, const shape &s)
{
    auto &plans = attention.plans;
    for (auto p = plans.begin(); p != plans.end(); ++p)
        if (p->shape == s) {
            plans.splice(plans.begin(), plans, p);
            return plans.front();
        }
    std::string why;
    attention_plan p = {s, nullptr, s.sequences, s.key_heads, 0};
    try {
        why = choose(attention, p);
    } catch (const std::exception &error) { /* a function that this libcudnn lacks, for one */
        why = error.what();
        p.graph.reset();
    }
    const char *pass = s.backward ? " backward" : " forward";
    if (why.empty())
        say("cuDNN " + version() + pass);
    else
        say(std::string("own kernels") + pass + ", because " + why);
    plans.push_front(std::move(p));
    return plans.front();
}

/* Makes the stream's workspace large enough for a plan. */
static enum zi_status reserve(struct cuda_stream *stream, int64_t bytes)
{
    cuda_attention &attention = *stream->attention;
    if (bytes <= attention.bytes) return ZI_OK;
    ZI_TRY(cuda_stream_synchronize(&stream->base)); /* it may be in use */
    CUDA_TRY(cudaFree, attention.workspace);
    attention.workspace = nullptr;
    attention.bytes = 0;
    CUDA_TRY(cudaMalloc, &attention.workspace, (size_t)bytes);
    attention.bytes = bytes;
    return ZI_OK;
}

/* One run of a graph, from sequence and key head on. */
static enum zi_status run(cuda_attention &attention, const attention_plan &p,
                          const struct device_attention &d, int64_t sequence, int64_t key_head)
{
    const int64_t group = d.heads / d.key_heads, bytes = (int64_t)zi_dtype_bytes(d.type);
    const int64_t first = sequence * d.tokens, head = key_head * group;
    const int64_t queries = (first * p.shape.ld_qk + head * d.width) * bytes;
    const int64_t keys = (first * p.shape.ld_qk + key_head * d.width) * bytes;
    const int64_t values = (first * d.ld + key_head * d.width) * bytes;
    const int64_t outputs = (first * d.ld_o + head * d.width) * bytes;
    const int64_t sums = (sequence * d.heads + head) * d.tokens * (int64_t)sizeof(float);
    auto at = [](struct device_ptr base, int64_t offset) {
        return reinterpret_cast<void *>(base.address + (uintptr_t)offset);
    };
    std::unordered_map<int64_t, void *> places = {{Q, at(d.q, queries)},
                                                  {K, at(d.k, keys)},
                                                  {V, at(d.v, values)},
                                                  {O, at(d.o, outputs)},
                                                  {LOGSUMEXP, at(d.logsumexp, sums)}};
    if (p.shape.backward) {
        places[D_O] = at(d.d_o, outputs);
        places[DQ] = at(d.dq, (first * d.ld + head * d.width) * bytes);
        places[DK] = at(d.dk, values);
        places[DV] = at(d.dv, values);
    }
    fe::error_t error = p.graph->execute(attention.handle, places, attention.workspace);
    if (error.is_good()) return ZI_OK;
    return zi_fail(ZI_ERROR_DEVICE, "cuda", "attention by cuDNN: %s", error.get_message().c_str());
}

/* What of a description tells graphs apart. */
static shape shape_of(const struct device_attention &d, bool backward)
{
    const uint64_t bytes = zi_dtype_bytes(d.type);
    const int64_t ld_qk = d.ld_qk > 0 ? d.ld_qk : d.ld;
    const int64_t window = d.window < d.tokens ? d.window : 0;
    uint64_t bits = ((uint64_t)d.ld | (uint64_t)d.ld_o | (uint64_t)ld_qk) * bytes;
    const struct device_ptr places[] = {d.q, d.k, d.v, d.o, d.logsumexp};
    const struct device_ptr gradients[] = {d.d_o, d.dq, d.dk, d.dv};
    for (const struct device_ptr &place : places)
        bits |= place.address;
    for (const struct device_ptr &place : gradients)
        if (backward) bits |= place.address;
    return {d.sequences, d.tokens, d.heads, d.key_heads, d.width, d.ld,           d.ld_o,
            ld_qk,       window,   d.scale, d.cap,       d.type,  bits % 16 == 0, backward};
}

/* Enqueues the operation where cuDNN does it. */
static enum zi_status try_cudnn(struct cuda_stream *stream, const struct device_attention &d,
                                bool backward, bool *done)
{
    cuda_attention &attention = attention_of(stream);
    if (!attention.handle) return ZI_OK;
    if (d.positions.address) return ZI_OK; /* a graph would need lengths of texts on the host */
    attention_plan &p = find(attention, shape_of(d, backward));
    if (!p.graph) return ZI_OK;
    ZI_TRY(reserve(stream, p.workspace));
    for (int64_t sequence = 0; sequence < d.sequences; sequence += p.sequences)
        for (int64_t head = 0; head < d.key_heads; head += p.key_heads)
            ZI_TRY(run(attention, p, d, sequence, head));
    *done = true;
    return ZI_OK;
}

static enum zi_status attend(struct device_stream *stream, const struct device_attention *desc,
                             bool backward)
{
    static const struct device_operations own = [] {
        struct device_operations operations = {};
        cuda_attention_register(&operations);
        return operations;
    }();
    bool done = desc->sequences <= 0 || desc->tokens <= 0 || desc->heads <= 0;
    try {
        if (!cuda_enter(stream)) return ZI_ERROR_DEVICE;
        if (!done) ZI_TRY(try_cudnn(cuda_stream_of(stream), *desc, backward, &done));
    } catch (const std::exception &error) {
        return zi_fail(ZI_ERROR_DEVICE, "cuda", "attention by cuDNN: %s", error.what());
    }
    if (done) return ZI_OK;
    return backward ? own.attention_backward(stream, desc) : own.attention(stream, desc);
}

static enum zi_status attention_forward(struct device_stream *stream,
                                        const struct device_attention *desc)
{
    return attend(stream, desc, false);
}

static enum zi_status attention_backward(struct device_stream *stream,
                                         const struct device_attention *desc)
{
    return attend(stream, desc, true);
}

void cuda_cudnn_register(struct device_operations *operations)
{
    operations->attention = attention_forward;
    operations->attention_backward = attention_backward;
}

void cuda_cudnn_destroy(struct cuda_stream *stream)
{
    cuda_attention *attention = stream->attention;
    if (!attention) return;
    if (attention->workspace) (void)cudaFree(attention->workspace);
    attention->plans.clear();
    if (attention->handle) (void)fe::detail::destroy_handle(attention->handle);
    delete attention;
    stream->attention = nullptr;
}
