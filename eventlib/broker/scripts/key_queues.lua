-- The order of a group's entries that share a key. This is not a script of its own: it stands, after `fields`, before
-- each script that hands out, moves or settles entries. Such a script must record here what it does with a head.
-- Otherwise the head seems to be gone.
-- The entries of one key form a per-key queue, which LANE names. Only its head is held by a consumer, or waits for its
-- retry. The entries behind the head are parked, outside of the stream, until the head is acknowledged or dead.
-- heads  hash: `lane LANE` -> origin id of the head; `head ORIGIN` -> WHERE and LANE, where WHERE is `stream`,
--        `retry/ID` or `delayed/DUE`
-- lanes  sorted set by bytes: LANE, origin id padded with zeros, the entry's fields packed as `fields` leaves them
local function where(retried, id)
  return retried and 'retry/' .. id or 'stream'
end

local function find_head(heads, origin)
  local found = redis.call('HGET', heads, 'head ' .. origin)
  if found then return found:match('^(%S+) (%S+)$') end
end

local function put_head(heads, queue, origin, at)
  redis.call('HSET', heads, 'lane ' .. queue, origin, 'head ' .. origin, at .. ' ' .. queue)
end

local function move_head(heads, origin, from, to)
  local at, queue = find_head(heads, origin)
  if at == from then put_head(heads, queue, origin, to) end
end

local function padded(id)
  local ms, seq = id:match('^(%d+)-(%d+)$')
  return ('0'):rep(20 - #ms) .. ms .. '-' .. ('0'):rep(20 - #seq) .. seq
end

local function park(queues, queue, origin, fields)
  redis.call('ZADD', queues, 0, queue .. ' ' .. padded(origin) .. ' ' .. cmsgpack.pack(fields))
end

local function first_parked(queues, queue)
  return redis.call('ZRANGEBYLEX', queues, '[' .. queue .. ' ', '(' .. queue .. '!', 'LIMIT', 0, 1)[1]
end

-- The first parked entry of a queue without a head becomes its head.
local function advance(heads, queues, retry, queue)
  local member = first_parked(queues, queue)
  if not member then return end
  local fields = cmsgpack.unpack(member:sub(#queue + 44)) -- two spaces, a padded id of 41
  local _, added = split_fields(fields, true)
  local id = redis.call('XADD', retry, '*', unpack(fields))
  redis.call('ZREM', queues, member)
  put_head(heads, queue, added.origin, where(true, id))
end

-- An entry is settled for good. If it was the head, the next entry becomes the head. An entry in another place than the
-- head is a copy from before the group was created again, and not the head.
local function release(heads, queues, retry, origin, from)
  local at, queue = find_head(heads, origin)
  if at ~= from then return end
  redis.call('HDEL', heads, 'lane ' .. queue, 'head ' .. origin)
  advance(heads, queues, retry, queue)
end

-- The id up to which the group has read.
local function last_delivered(source, group)
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', source)) do
    local found = {}
    for i = 1, #info, 2 do found[info[i]] = info[i + 1] end
    if found.name == group then return found['last-delivered-id'] end
  end
end

-- True if the head is still in its place, so that a consumer will settle it.
local function is_alive(stream, retry, delayed, group, origin, at)
  local kind, id = at:match('^(%a+)/?(.*)$')
  if kind == 'delayed' then
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', delayed, id, id)) do
      local _, added = split_fields(cmsgpack.unpack(member), true)
      if added.origin == origin then return true end
    end
    return false
  end
  local source = kind == 'stream' and stream or retry
  id = kind == 'stream' and origin or id
  return #redis.call('XPENDING', source, group, id, id, 1) > 0
    or (#redis.call('XRANGE', source, id, id) > 0 and padded(id) > padded(last_delivered(source, group)))
end
