-- The order of a group's entries that share a key. Not a script: it stands, after `fields`, before each one that hands
-- out, moves or settles entries, which must say so here, or a lane takes its head for gone.
-- The entries of one key are a lane. Its head alone is in the consumers' hands (or waits for its retry); those behind
-- it are parked, outside of the stream, until the head is acknowledged or dead.
-- heads  hash: `lane LANE` -> origin id of its head; `head ORIGIN` -> WHERE and LANE, where WHERE is `stream`,
--        `retry/ID` or `delayed/DUE`
-- lanes  sorted set by bytes: LANE, origin id padded with zeros, the entry's fields packed as `fields` leaves them
local function where(retried, id)
  return retried and 'retry/' .. id or 'stream'
end

local function find_head(heads, origin)
  local found = redis.call('HGET', heads, 'head ' .. origin)
  if found then return found:match('^(%S+) (%S+)$') end
end

local function put_head(heads, lane, origin, at)
  redis.call('HSET', heads, 'lane ' .. lane, origin, 'head ' .. origin, at .. ' ' .. lane)
end

local function move_head(heads, origin, from, to)
  local at, lane = find_head(heads, origin)
  if at == from then put_head(heads, lane, origin, to) end
end

local function padded(id)
  local ms, seq = id:match('^(%d+)-(%d+)$')
  return ('0'):rep(20 - #ms) .. ms .. '-' .. ('0'):rep(20 - #seq) .. seq
end

local function park(lanes, lane, origin, fields)
  redis.call('ZADD', lanes, 0, lane .. ' ' .. padded(origin) .. ' ' .. cmsgpack.pack(fields))
end

local function first_parked(lanes, lane)
  return redis.call('ZRANGEBYLEX', lanes, '[' .. lane .. ' ', '(' .. lane .. '!', 'LIMIT', 0, 1)[1]
end

-- The first one parked in a lane without a head becomes its head.
local function go_on(heads, lanes, retry, lane)
  local member = first_parked(lanes, lane)
  if not member then return end
  local fields = cmsgpack.unpack(member:sub(#lane + 44)) -- two spaces, a padded id of 41
  local _, ours = parted(fields, true)
  local id = redis.call('XADD', retry, '*', unpack(fields))
  redis.call('ZREM', lanes, member)
  put_head(heads, lane, ours.origin, where(true, id))
end

-- An entry is settled for good: if it was the head, the lane goes on. Of a copy (the group was made anew) the head's
-- place tells it.
local function release(heads, lanes, retry, origin, from)
  local at, lane = find_head(heads, origin)
  if at ~= from then return end
  redis.call('HDEL', heads, 'lane ' .. lane, 'head ' .. origin)
  go_on(heads, lanes, retry, lane)
end

-- Up to where the group has read.
local function last_delivered(source, group)
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', source)) do
    local found = {}
    for i = 1, #info, 2 do found[info[i]] = info[i + 1] end
    if found.name == group then return found['last-delivered-id'] end
  end
end

-- Will a consumer ever settle the head that is said to be there?
local function is_alive(stream, retry, delayed, group, origin, at)
  local kind, id = at:match('^(%a+)/?(.*)$')
  if kind == 'delayed' then
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', delayed, id, id)) do
      local _, ours = parted(cmsgpack.unpack(member), true)
      if ours.origin == origin then return true end
    end
    return false
  end
  local source = kind == 'stream' and stream or retry
  id = kind == 'stream' and origin or id
  return #redis.call('XPENDING', source, group, id, id, 1) > 0
    or (#redis.call('XRANGE', source, id, id) > 0 and padded(id) > padded(last_delivered(source, group)))
end
