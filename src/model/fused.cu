// Layers of `candle_ops` in one or two passes each, for f32 on a CUDA device. Compiled when a device is first used.
//
// Every sum is taken in an order that depends on the sizes alone, so that a training resumed ends with the same bytes. Blocks hold a multiple of
// 32 threads. A tensor has less than 2^32 elements.

typedef unsigned Count; // divisions by 64 bits would take longer than the memory

__device__ float warp_sum(float x) {
    for (int apart = 16; apart > 0; apart /= 2) x += __shfl_xor_sync(0xffffffffu, x, apart);
    return x;
}

// The sum over all threads of a block, for each of them.
__device__ float block_sum(float x) {
    __shared__ float room[32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    x = warp_sum(x);
    __syncthreads(); // an earlier sum has been read
    if (lane == 0) room[warp] = x;
    __syncthreads();
    return warp_sum(lane < blockDim.x / 32 ? room[lane] : 0.0f);
}

__device__ Count element() { return blockIdx.x * blockDim.x + threadIdx.x; }

// The row of this warp.
__device__ Count row_of_warp() { return element() / 32; }

// Mean and 1 / deviation of a row.
__device__ float2 row_moments(const float* x, Count columns, float eps) {
    int lane = threadIdx.x % 32;
    float sum = 0, squares = 0;
    for (Count j = lane; j < columns; j += 32) sum += x[j];
    float mean = warp_sum(sum) / columns;
    for (Count j = lane; j < columns; j += 32) squares += (x[j] - mean) * (x[j] - mean);
    return make_float2(mean, 1.0f / sqrtf(warp_sum(squares) / columns + eps));
}

extern "C" __global__ void layer_norm(const float* x, const float* weight, const float* bias, float* y, Count rows, Count columns, float eps) {
    Count row = row_of_warp();
    if (row >= rows) return;
    x += row * columns, y += row * columns;
    float2 m = row_moments(x, columns, eps);
    for (Count j = threadIdx.x % 32; j < columns; j += 32) y[j] = (x[j] - m.x) * m.y * weight[j] + bias[j];
}

// Also writes mean and 1 / deviation of each row.
extern "C" __global__ void layer_norm_backward(const float* x, const float* weight, const float* d, float* dx, float* moments, Count rows,
                                               Count columns, float eps) {
    Count row = row_of_warp();
    if (row >= rows) return;
    int lane = threadIdx.x % 32;
    x += row * columns, d += row * columns, dx += row * columns;
    float2 m = row_moments(x, columns, eps);
    float sum = 0, along = 0;
    for (Count j = lane; j < columns; j += 32) {
        float g = d[j] * weight[j];
        sum += g, along += g * (x[j] - m.x) * m.y;
    }
    sum = warp_sum(sum) / columns, along = warp_sum(along) / columns;
    for (Count j = lane; j < columns; j += 32) dx[j] = (d[j] * weight[j] - sum - (x[j] - m.x) * m.y * along) * m.y;
    if (lane == 0) moments[2 * row] = m.x, moments[2 * row + 1] = m.y;
}

// For a stretch of `stretch` rows (blockIdx.y): out[stretch][0] = column sums of d · (x - mean) / deviation, out[stretch][1] = those of d.
// Blocks of 32 columns by 8 rows. Without moments x counts as it is.
extern "C" __global__ void column_sums(const float* d, const float* x, const float* moments, float* out, Count rows, Count columns, Count stretch,
                                       Count has_moments) {
    __shared__ float room[2][8][32];
    Count lane = threadIdx.x % 32, side = threadIdx.x / 32, j = blockIdx.x * 32 + lane;
    Count first = blockIdx.y * stretch, end = min(first + stretch, rows);
    float products = 0, sums = 0;
    if (j < columns) {
        for (Count row = first + side; row < end; row += 8) {
            float g = d[row * columns + j], v = x[row * columns + j];
            if (has_moments) v = (v - moments[2 * row]) * moments[2 * row + 1];
            products += g * v, sums += g;
        }
    }
    room[0][side][lane] = products, room[1][side][lane] = sums;
    __syncthreads();
    if (side < 2 && j < columns) {
        float sum = 0;
        for (int i = 0; i < 8; i++) sum += room[side][i][lane];
        out[(blockIdx.y * 2 + side) * columns + j] = sum;
    }
}

// x + branch · scale, scale by column.
extern "C" __global__ void add_scaled(const float* x, const float* branch, const float* scale, float* out, Count n, Count columns) {
    Count i = element();
    if (i < n) out[i] = x[i] + branch[i] * scale[i % columns];
}

extern "C" __global__ void scale_columns(const float* x, const float* scale, float* out, Count n, Count columns) {
    Count i = element();
    if (i < n) out[i] = x[i] * scale[i % columns];
}

extern "C" __global__ void add_row(const float* x, const float* row, float* out, Count n, Count columns) {
    Count i = element();
    if (i < n) out[i] = x[i] + row[i % columns];
}

extern "C" __global__ void gelu_backward(const float* x, const float* d, float* dx, Count n) {
    Count i = element();
    if (i >= n) return;
    float v = x[i];
    float below = 0.5f * erfcf(-v * 0.70710678118654752f), density = 0.39894228040143268f * expf(-0.5f * v * v);
    dx[i] = d[i] * (below + v * density);
}

// Each row by its length, or by 1e-12 where it is shorter.
extern "C" __global__ void l2_normalise(const float* x, float* y, Count rows, Count columns) {
    Count row = row_of_warp();
    if (row >= rows) return;
    x += row * columns, y += row * columns;
    float squares = 0;
    for (Count j = threadIdx.x % 32; j < columns; j += 32) squares += x[j] * x[j];
    float r = 1.0f / fmaxf(sqrtf(warp_sum(squares)), 1e-12f);
    for (Count j = threadIdx.x % 32; j < columns; j += 32) y[j] = x[j] * r;
}

extern "C" __global__ void l2_normalise_backward(const float* x, const float* d, float* dx, Count rows, Count columns) {
    Count row = row_of_warp();
    if (row >= rows) return;
    x += row * columns, d += row * columns, dx += row * columns;
    float squares = 0, along = 0;
    for (Count j = threadIdx.x % 32; j < columns; j += 32) squares += x[j] * x[j], along += x[j] * d[j];
    float length = sqrtf(warp_sum(squares));
    float r = 1.0f / fmaxf(length, 1e-12f);
    along = length > 1e-12f ? warp_sum(along) * r * r : 0.0f;
    for (Count j = threadIdx.x % 32; j < columns; j += 32) dx[j] = (d[j] - x[j] * along) * r;
}

// 3x3 by channel over (B, C, H, W), zeros around; `turned` takes the taps from the last, without a bias: the way back to the map.
extern "C" __global__ void depthwise3(const float* x, const float* weight, const float* bias, float* y, Count n, Count channels, Count height, Count width,
                                      Count turned) {
    Count i = element();
    if (i >= n) return;
    Count column = i % width, row = i / width % height, channel = i / (width * height) % channels;
    float sum = turned ? 0.0f : bias[channel];
    for (int tap = 0; tap < 9; tap++) {
        // Left of or above the map wraps round to a large number.
        Count r = row + tap / 3 - 1, c = column + tap % 3 - 1;
        if (r >= height || c >= width) continue;
        sum += x[r * width + c + i - row * width - column] * weight[channel * 9 + (turned ? 8 - tap : tap)];
    }
    y[i] = sum;
}

// One block for each channel: its nine taps' gradients, then its bias'.
extern "C" __global__ void depthwise3_sums(const float* x, const float* d, float* out, Count batch, Count channels, Count height, Count width) {
    float sums[10] = {};
    Count plane = height * width, channel = blockIdx.x;
    for (Count k = threadIdx.x; k < batch * plane; k += blockDim.x) {
        Count within = k % plane, row = within / width, column = within % width;
        Count i = (k / plane * channels + channel) * plane + within;
        float g = d[i];
        for (int tap = 0; tap < 9; tap++) {
            Count r = row + tap / 3 - 1, c = column + tap % 3 - 1;
            if (r >= height || c >= width) continue;
            sums[tap] += g * x[r * width + c + i - row * width - column];
        }
        sums[9] += g;
    }
    for (int tap = 0; tap < 10; tap++) {
        float sum = block_sum(sums[tap]);
        if (threadIdx.x == 0) out[tap * channels + channel] = sum;
    }
}

// One block for each channel of (B, C, plane): mean, then biased variance of all channels.
extern "C" __global__ void channel_moments(const float* x, float* out, Count batch, Count channels, Count plane) {
    Count channel = blockIdx.x;
    Count n = batch * plane;
    float sum = 0, squares = 0;
    for (Count k = threadIdx.x; k < n; k += blockDim.x) sum += x[(k / plane * channels + channel) * plane + k % plane];
    float mean = block_sum(sum) / n;
    for (Count k = threadIdx.x; k < n; k += blockDim.x) {
        float v = x[(k / plane * channels + channel) * plane + k % plane] - mean;
        squares += v * v;
    }
    float var = block_sum(squares) / n;
    if (threadIdx.x == 0) out[channel] = mean, out[channels + channel] = var;
}

extern "C" __global__ void batch_norm(const float* x, const float* mean, const float* var, const float* weight, const float* bias, float* y, Count n,
                                      Count channels, Count plane, float eps) {
    Count i = element();
    if (i >= n) return;
    Count c = i / plane % channels;
    y[i] = (x[i] - mean[c]) * (weight[c] / sqrtf(var[c] + eps)) + bias[c];
}

// One block for each channel: the gradients of all weights, then of all biases.
extern "C" __global__ void batch_norm_sums(const float* x, const float* d, const float* mean, const float* var, float* out, Count batch, Count channels,
                                           Count plane, float eps) {
    Count channel = blockIdx.x;
    float m = mean[channel], r = 1.0f / sqrtf(var[channel] + eps), products = 0, sums = 0;
    for (Count k = threadIdx.x; k < batch * plane; k += blockDim.x) {
        Count i = (k / plane * channels + channel) * plane + k % plane;
        products += d[i] * (x[i] - m) * r, sums += d[i];
    }
    products = block_sum(products), sums = block_sum(sums);
    if (threadIdx.x == 0) out[channel] = products, out[channels + channel] = sums;
}

extern "C" __global__ void batch_norm_backward(const float* x, const float* d, const float* mean, const float* var, const float* weight,
                                               const float* sums, float* dx, Count n, Count channels, Count plane, float values, float eps) {
    Count i = element();
    if (i >= n) return;
    Count c = i / plane % channels;
    float r = 1.0f / sqrtf(var[c] + eps);
    dx[i] = (d[i] - sums[channels + c] / values - (x[i] - mean[c]) * r * sums[c] / values) * weight[c] * r;
}

// Around each place of a 3x3 convolution of stride 2, zeros around: (B, C, H, W) becomes (B, 9C, plane) with (H + 1) / 2 rows of `out_width`.
extern "C" __global__ void unfold3(const float* x, float* out, Count n, Count plane, Count height, Count width, Count out_width) {
    Count i = element();
    if (i >= n) return;
    Count place = i % plane, tap = i / plane % 9, map = i / plane / 9;
    // Left of or above the map wraps round to a large number.
    Count row = place / out_width * 2 + tap / 3 - 1, column = place % out_width * 2 + tap % 3 - 1;
    out[i] = row < height && column < width ? x[(map * height + row) * width + column] : 0.0f;
}

// The way back: each number of the map collects what was made of it.
extern "C" __global__ void fold3(const float* d, float* dx, Count n, Count plane, Count height, Count width, Count out_width) {
    Count i = element();
    if (i >= n) return;
    Count column = i % width, row = i / width % height, map = i / width / height, out_height = plane / out_width;
    float sum = 0;
    for (Count tap = 0; tap < 9; tap++) {
        Count twice_row = row + 1 - tap / 3, twice_column = column + 1 - tap % 3;
        if (twice_row % 2 || twice_column % 2 || twice_row / 2 >= out_height || twice_column / 2 >= out_width) continue;
        sum += d[(map * 9 + tap) * plane + twice_row / 2 * out_width + twice_column / 2];
    }
    dx[i] = sum;
}
