// A 3x3 convolution over pixels whose channels lie together, with all that follows it done before
// anything reaches memory: bias, activation, residuals. Zeros surround the picture.
//
// A group of four warps computes 16 columns and ROWS rows of one picture at a time, all output
// channels. The part of the picture that it needs lies in shared memory with its border, so that the
// nine taps are nine views of it; of the rows that a warp multiplies, each is fetched once for the
// three taps above each other. Products are those of the tensor cores: wgmma on Hopper, where the
// four warps read the weights together, else mma.sync. Sums are float32.
//
// Groups stay and take one part after the other. Where the input has one set of channels only
// (SETS == 1) its weights are fetched once; else each set comes with its weights, one after the other.
// With two BUFFERS the next piece is on its way while one is multiplied. The GROUPS of a block take
// turns: one multiplies while the others fetch and write, or else they would all fetch, all multiply
// and all write at once, and the tensor cores would rest meanwhile.
//
// Compiled at run time with: CHANNELS (of a set: 16, 32, 48 or 64), SETS, OUT (16, 32, 48 or 64),
// ROWS (a multiple of 4), GROUPS (1 to 3), BUFFERS (1 or 2), BLOCKS (on a multiprocessor), ENLARGE (1 or
// 2: each pixel of the input is read as a square of that side), HALF (1 for float16, 0 for bfloat16),
// ACT (0 none, 1 slope where negative, 2 SiLU, 3 SPAN's gate over the first residual, 4 GELU),
// RESIDUALS (0, 1 or 2), WGMMA (1 for Hopper's products).

typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;

#define THREADS 128  // of a group
#define COLUMNS 16
#define WIDE (COLUMNS + 2)
#define TALL (ROWS + 2)
#define STRIPES (ROWS / 4)   // rows of a warp
#define PIECES (CHANNELS / 8)  // of 16 bytes, in a pixel of a set
#define AT_ONCE (THREADS / PIECES)  // pixels that a group fetches with one piece for each thread
#define STEPS (CHANNELS / 16)
// Bytes from one pixel to the next. Eight neighbours must lie in different banks: 48 and 16 channels
// get a gap of 16 bytes, 64 and 32 have their pieces exchanged.
#if CHANNELS == 64
#define PITCH 128
#define TURN(x) ((x) & 7)
#elif CHANNELS == 32
#define PITCH 64
#define TURN(x) (((x) >> 1) & 3)
#elif CHANNELS == 48
#define PITCH 112
#define TURN(x) 0
#else
#define PITCH 48
#define TURN(x) 0
#endif
// The same for a line of weights, in the patterns that wgmma knows, which are free of conflicts too.
#if CHANNELS >= 48
#define LINE 128
#define LINE_TURN(n) ((n) & 7)
#define PATTERN 1ull
#elif CHANNELS == 32
#define LINE 64
#define LINE_TURN(n) (((n) >> 1) & 3)
#define PATTERN 2ull
#else
#define LINE 32
#define LINE_TURN(n) (((n) >> 2) & 1)
#define PATTERN 3ull
#endif
#define PICTURE_BYTES (TALL * WIDE * PITCH)
#define WEIGHT_BYTES (9 * OUT * LINE)
// Weights that stay lie before all; wgmma wants them at multiples of 1024 bytes.
#define ROUND(bytes) (((bytes) + 1023) / 1024 * 1024)
#if SETS == 1
#define KEPT_BYTES ROUND(WEIGHT_BYTES)
#define PIECE_BYTES ROUND(PICTURE_BYTES)
#else
#define KEPT_BYTES 0
#define PIECE_BYTES (ROUND(WEIGHT_BYTES) + ROUND(PICTURE_BYTES))
#endif

struct Call {
    const u16* in;
    u16* out;
    const u16* weights;  // [SETS, 9, OUT, CHANNELS]
    const float* bias;  // [OUT]
    const float* slope;  // [OUT]
    const u16* first;  // residuals, or null
    const u16* second;
    float first_share;  // (value * first_share + first) * second_share + second
    float second_share;
    int in_pitch;  // channels from one pixel to the next
    int out_pitch;
    int first_pitch;
    int second_pitch;
    int kept;  // output channels that are written, a multiple of 8
    int height;  // of the output
    int width;
    int down;  // parts of a picture
    int across;
    int parts;  // of all pictures
};

__device__ __forceinline__ u32 shared_address(const void* p) {
    return (u32)__cvta_generic_to_shared(p);
}

__device__ __forceinline__ void fetch(u32 to, const void* from, bool inside) {
    int bytes = inside ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes));
}

__device__ __forceinline__ void load_four(u32* to, u32 at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at));
}

__device__ __forceinline__ u32 packed(float low, float high) {
    u32 both;
#if HALF
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
#else
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
#endif
    return both;
}

__device__ __forceinline__ void unpacked(u32 both, float& low, float& high) {
#if HALF
    asm("{.reg .f16 l, h; mov.b32 {l, h}, %2; cvt.f32.f16 %0, l; cvt.f32.f16 %1, h;}"
        : "=f"(low), "=f"(high)
        : "r"(both));
#else
    low = __uint_as_float(both << 16);
    high = __uint_as_float(both & 0xffff0000u);
#endif
}

__device__ __forceinline__ float sigmoid(float x) {
    return __fdividef(1.0f, 1.0f + __expf(-x));
}

struct Place {
    int picture, top, left;  // of a part, its border left out
};

__device__ __forceinline__ Place place_of(const Call& c, int part) {
    int rest = part / c.across;
    int picture = rest / c.down;
    return {picture, (rest - picture * c.down) * ROWS, (part - rest * c.across) * COLUMNS};
}

__device__ __forceinline__ void fetch_picture(const Call& c, u32 to, const Place& at, int set, int thread) {
    // Who has nothing left to fetch fetches what a neighbour does: the products want no branches.
    thread = min(thread, AT_ONCE * PIECES - 1);
    int piece = thread % PIECES, first = thread / PIECES;
    int rows = c.height / ENLARGE, columns = c.width / ENLARGE;
    const u16* from = c.in + ((u64)at.picture * rows * columns) * c.in_pitch + set * CHANNELS + piece * 8;
    // Zeros come from nowhere: such a piece must only name an address that exists.
    bool whole = at.top > 0 && at.left > 0 && at.top + ROWS < c.height && at.left + COLUMNS < c.width;
#pragma unroll
    for (int k = 0; k < (TALL * WIDE + AT_ONCE - 1) / AT_ONCE; k++) {
        int pixel = min(first + k * AT_ONCE, TALL * WIDE - 1);
        int y = pixel / WIDE, x = pixel - y * WIDE;
        int row = at.top + y - 1, column = at.left + x - 1;
        bool inside = whole || (row >= 0 && row < c.height && column >= 0 && column < c.width);
        int place = inside ? (row / ENLARGE) * columns + column / ENLARGE : 0;
        fetch(to + pixel * PITCH + ((piece ^ TURN(x)) << 4), from + (u64)(u32)place * (u32)c.in_pitch, inside);
    }
}

__device__ __forceinline__ void fetch_weights(const Call& c, u32 to, int set, int thread, int threads) {
    const u16* from = c.weights + (u64)set * 9 * OUT * CHANNELS;
#pragma unroll 4
    for (int at = thread; at < 9 * OUT * PIECES; at += threads) {
        int line = at / PIECES, piece = at - line * PIECES;
        fetch(to + line * LINE + ((piece ^ LINE_TURN(line)) << 4), from + at * 8, true);
    }
}

#if WGMMA

// 64 pixels, 16 of each warp, by OUT channels; `weights` describes OUT lines of 16 channels. Where
// `adds` is 0 the sums begin anew.
__device__ __forceinline__ void multiply_all(float (*sum)[4], const u32* a, u64 weights, int adds) {
#define S(n) "+f"(sum[n][0]), "+f"(sum[n][1]), "+f"(sum[n][2]), "+f"(sum[n][3])
#if HALF
#define FORMS "f32.f16.f16"
#else
#define FORMS "f32.bf16.bf16"
#endif
#define A_AND_B "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(weights), "r"(adds)
#if OUT == 64
    asm volatile("{.reg .pred p; setp.ne.b32 p, %37, 0; wgmma.mma_async.sync.aligned.m64n64k16." FORMS
        " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19,"
        " %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, {%32, %33, %34, %35}, %36, p, 1, 1, 0;}"
        : S(0), S(1), S(2), S(3), S(4), S(5), S(6), S(7) : A_AND_B);
#elif OUT == 48
    asm volatile("{.reg .pred p; setp.ne.b32 p, %29, 0; wgmma.mma_async.sync.aligned.m64n48k16." FORMS
        " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19,"
        " %20, %21, %22, %23}, {%24, %25, %26, %27}, %28, p, 1, 1, 0;}"
        : S(0), S(1), S(2), S(3), S(4), S(5) : A_AND_B);
#elif OUT == 32
    asm volatile("{.reg .pred p; setp.ne.b32 p, %21, 0; wgmma.mma_async.sync.aligned.m64n32k16." FORMS
        " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15},"
        " {%16, %17, %18, %19}, %20, p, 1, 1, 0;}"
        : S(0), S(1), S(2), S(3) : A_AND_B);
#else
    asm volatile("{.reg .pred p; setp.ne.b32 p, %13, 0; wgmma.mma_async.sync.aligned.m64n16k16." FORMS
        " {%0, %1, %2, %3, %4, %5, %6, %7}, {%8, %9, %10, %11}, %12, p, 1, 1, 0;}"
        : S(0), S(1) : A_AND_B);
#endif
}

// Sums of one set of channels: STRIPES rows of 16 pixels by OUT channels; begun anew without `adds`.
__device__ __forceinline__ void sum_up(float (*sum)[OUT / 8][4], u32 picture, u32 weights, int adds) {
    int lane = threadIdx.x & 31, warp = (threadIdx.x >> 5) & 3;
    int pixel = lane & 15, late = lane >> 4;
    u32 rows = picture + warp * STRIPES * WIDE * PITCH;
    // Lines in eights, each so many bytes after the one before.
    u64 described = (PATTERN << 62) | ((u64)(8 * LINE >> 4) << 32) | (1ull << 16) | ((weights & 0x3ffff) >> 4);
    u32 a[2][STRIPES + 2][4];
#pragma unroll
    for (int turn = 0; turn < 3 * STEPS; turn++) {
        int dx = turn / STEPS, step = turn % STEPS, x = pixel + dx;
        u32 from = rows + x * PITCH + (((2 * step + late) ^ TURN(x)) << 4);
#pragma unroll
        for (int y = 0; y < STRIPES + 2; y++) load_four(a[turn & 1][y], from + y * WIDE * PITCH);
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
        for (int dy = 0; dy < 3; dy++) {
#pragma unroll
            for (int y = 0; y < STRIPES; y++)
                multiply_all(sum[y], a[turn & 1][y + dy],
                    described + (((dy * 3 + dx) * OUT * LINE + step * 32) >> 4), turn + dy ? 1 : adds);
        }
        asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
        // What the turn before multiplied may be overwritten by the next.
        asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
    }
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}

#else

__device__ __forceinline__ void multiply(float* sum, const u32* a, u32 b0, u32 b1) {
#if HALF
#define PRODUCT "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32"
#else
#define PRODUCT "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"
#endif
    asm(PRODUCT " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Sums of one set of channels: STRIPES rows of 16 pixels by OUT channels; begun anew without `adds`.
__device__ __forceinline__ void sum_up(float (*sum)[OUT / 8][4], u32 picture, u32 weights, int adds) {
    int lane = threadIdx.x & 31, warp = (threadIdx.x >> 5) & 3;
    int pixel = lane & 15, late = lane >> 4;
    int line = ((lane >> 4) << 3) + (lane & 7), high = (lane >> 3) & 1;
    u32 rows = picture + warp * STRIPES * WIDE * PITCH;
    u32 lines = weights + line * LINE;
    if (!adds) {
#pragma unroll
        for (int n = 0; n < STRIPES * OUT / 2; n++) sum[0][0][n] = 0.0f;
    }
#pragma unroll
    for (int dx = 0; dx < 3; dx++) {
        int x = pixel + dx;
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            u32 from = rows + x * PITCH + (((2 * step + late) ^ TURN(x)) << 4);
            u32 a[STRIPES + 2][4];
#pragma unroll
            for (int y = 0; y < STRIPES + 2; y++) load_four(a[y], from + y * WIDE * PITCH);
            u32 by = lines + (((2 * step + high) ^ LINE_TURN(line)) << 4);
#pragma unroll
            for (int dy = 0; dy < 3; dy++) {
#pragma unroll
                for (int n = 0; n < OUT / 16; n++) {
                    u32 b[4];
                    load_four(b, by + ((dy * 3 + dx) * OUT + n * 16) * LINE);
#pragma unroll
                    for (int y = 0; y < STRIPES; y++) {
                        multiply(sum[y][2 * n], a[y + dy], b[0], b[1]);
                        multiply(sum[y][2 * n + 1], a[y + dy], b[2], b[3]);
                    }
                }
            }
        }
    }
}

#endif

// Two neighbouring channels of a pixel; `first` and `second` are those of the residuals.
__device__ __forceinline__ u32 finished(const Call& c, float low, float high, float2 bias, float2 slope, u32 first, u32 second) {
    low += bias.x;
    high += bias.y;
#if ACT == 1
    low *= low > 0.0f ? 1.0f : slope.x;
    high *= high > 0.0f ? 1.0f : slope.y;
#elif ACT == 2
    low *= sigmoid(low);
    high *= sigmoid(high);
#elif ACT == 4
    low *= 0.5f + 0.5f * erff(low * 0.70710678f);
    high *= 0.5f + 0.5f * erff(high * 0.70710678f);
#endif
#if RESIDUALS > 0
    float other_low, other_high;
    unpacked(first, other_low, other_high);
#if ACT == 3
    low = (low + other_low) * (sigmoid(low) - 0.5f);
    high = (high + other_high) * (sigmoid(high) - 0.5f);
#else
    low = low * c.first_share + other_low;
    high = high * c.first_share + other_high;
#endif
#endif
#if RESIDUALS > 1
    unpacked(second, other_low, other_high);
    low = low * c.second_share + other_low;
    high = high * c.second_share + other_high;
#endif
    return packed(low, high);
}

// Four words of four neighbouring threads change places: what lay in the order of products lies in
// the order of memory then, 16 bytes for each thread, and the other way round.
__device__ __forceinline__ void exchange(u32* word, int lane) {
#pragma unroll
    for (int bit = 1; bit < 4; bit <<= 1) {
#pragma unroll
        for (int low = 0; low < 4; low++) {
            if (low & bit) continue;
            u32 sent = (lane & bit) ? word[low] : word[low | bit];
            u32 got = __shfl_xor_sync(0xffffffffu, sent, bit);
            if (lane & bit) word[low] = got;
            else word[low | bit] = got;
        }
    }
}

__device__ __forceinline__ void read(u32* word, const u16* from, bool there) {
    uint4 all = there ? *(const uint4*)from : make_uint4(0, 0, 0, 0);
    word[0] = all.x;
    word[1] = all.y;
    word[2] = all.z;
    word[3] = all.w;
}

__device__ __forceinline__ void write(const Call& c, float (*sum)[OUT / 8][4], const Place& at) {
    int lane = threadIdx.x & 31, warp = (threadIdx.x >> 5) & 3;
    int top = at.top + warp * STRIPES;
#pragma unroll
    for (int four = 0; four < (OUT + 31) / 32; four++) {
        float2 bias[4], slope[4];
#pragma unroll
        for (int n = 0; n < 4; n++) {
            int channel = (four * 4 + n) * 8 + (lane & 3) * 2;
            bool there = four * 4 + n < OUT / 8;
            bias[n] = there ? *(const float2*)(c.bias + channel) : make_float2(0.0f, 0.0f);
            slope[n] = there && ACT == 1 ? *(const float2*)(c.slope + channel) : make_float2(0.0f, 0.0f);
        }
#pragma unroll
        for (int each = 0; each < STRIPES * 2; each++) {
            int y = each >> 1, half = each & 1;
            int row = top + y, column = at.left + (lane >> 2) + half * 8;
            bool inside = row < c.height && column < c.width;
            u64 place = inside ? ((u64)at.picture * c.height + row) * c.width + column : 0;
            int channel = (four * 4 + (lane & 3)) * 8;
            u32 word[4], first[4], second[4];
#if RESIDUALS > 0
            read(first, c.first + place * c.first_pitch + channel, channel < c.kept);
            exchange(first, lane & 3);
#endif
#if RESIDUALS > 1
            read(second, c.second + place * c.second_pitch + channel, channel < c.kept);
            exchange(second, lane & 3);
#endif
#pragma unroll
            for (int n = 0; n < 4; n++) {
                word[n] = 0;
                if (four * 4 + n >= OUT / 8) continue;
                float* value = sum[y][four * 4 + n] + half * 2;
                word[n] = finished(c, value[0], value[1], bias[n], slope[n], first[n], second[n]);
            }
            exchange(word, lane & 3);
            if (inside && channel < c.kept)
                *(uint4*)(c.out + place * c.out_pitch + channel) = make_uint4(word[0], word[1], word[2], word[3]);
        }
    }
}

// All threads of a group have come here.
__device__ __forceinline__ void meet(int group) {
    asm volatile("bar.sync %0, %1;" ::"r"(1 + group), "n"(THREADS) : "memory");
}

// The group before has multiplied.
__device__ __forceinline__ void wait_for_turn(int group) {
#if GROUPS > 1
    asm volatile("bar.sync %0, %1;" ::"r"(1 + GROUPS + group), "n"(2 * THREADS) : "memory");
#endif
}

__device__ __forceinline__ void pass_turn(int group) {
#if GROUPS > 1
    int next = group + 1 == GROUPS ? 0 : group + 1;
    asm volatile("bar.arrive %0, %1;" ::"r"(1 + GROUPS + next), "n"(2 * THREADS) : "memory");
#endif
}

__device__ __forceinline__ void fetch_piece(const Call& c, u32 to, int part, int set, int thread) {
    if (part < c.parts) {
        u32 picture = to;
#if SETS > 1
        fetch_weights(c, to, set, thread, THREADS);
        picture += ROUND(WEIGHT_BYTES);
#endif
        fetch_picture(c, picture, place_of(c, part), set, thread);
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
}

extern "C" __global__ void __launch_bounds__(GROUPS * THREADS, BLOCKS) convolve(const Call c) {
    extern __shared__ __align__(1024) unsigned char memory[];
    // The same for all threads of a warp, and said so.
    int group = __shfl_sync(0xffffffffu, threadIdx.x / THREADS, 0), thread = threadIdx.x % THREADS;
    int part = blockIdx.x * GROUPS + group;
    u32 kept = shared_address(memory), buffers = kept + KEPT_BYTES + group * BUFFERS * PIECE_BYTES;
#if SETS == 1
    fetch_weights(c, kept, 0, threadIdx.x, GROUPS * THREADS);
    asm volatile("cp.async.commit_group;\ncp.async.wait_group 0;" ::: "memory");
#if WGMMA
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
    __syncthreads();
#endif
    fetch_piece(c, buffers, part, 0, thread);
    if (group == GROUPS - 1) pass_turn(group);
    float sum[STRIPES][OUT / 8][4];
    int set = 0, buffer = 0;
#pragma unroll 1
    while (part < c.parts) {
        int next_set = set + 1 == SETS ? 0 : set + 1;
        int next_part = next_set ? part : part + gridDim.x * GROUPS;
        u32 here = buffers + buffer * PIECE_BYTES;
#if BUFFERS == 2
        fetch_piece(c, buffers + (buffer ^ 1) * PIECE_BYTES, next_part, next_set, thread);
        asm volatile("cp.async.wait_group 1;" ::: "memory");
        buffer ^= 1;
#else
        asm volatile("cp.async.wait_group 0;" ::: "memory");
#endif
#if WGMMA && SETS > 1
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
        meet(group);
        wait_for_turn(group);
#if SETS == 1
        sum_up(sum, here, kept, 0);
#else
        sum_up(sum, here + ROUND(WEIGHT_BYTES), here, set);
#endif
        pass_turn(group);
        meet(group);
#if BUFFERS == 1
        fetch_piece(c, buffers, next_part, next_set, thread);
#endif
        if (next_set == 0) write(c, sum, place_of(c, part));
        part = next_part;
        set = next_set;
    }
#if GROUPS > 1 && SETS > 1
    // A group before has a part more, and its turn must come round for each set of it.
    if (part - group < c.parts) {
        for (int other = 1; other < SETS; other++) {
            wait_for_turn(group);
            pass_turn(group);
        }
    }
#endif
}
