-- Limits of tasks. This is not a script of its own: it stands, after `task_queue`, before scripts that look at limits.
-- A limit with `at_once` has so many slots; a task that runs has one. A limit with `starts` counts each start, and lets
-- so many come within any `within` ms of the group's time.
local function within(limit, from, to) -- an interval of members, for commands on sorted sets by bytes
  return (from and '(' .. limit.name .. ' ' .. from or '[' .. limit.name .. ' '),
    (to and '[' .. limit.name .. ' ' .. to or '(' .. limit.name .. '!')
end

local function padded(ms)
  return string.format('%018.3f', ms)
end

-- How many more may start now. If none, and the limit is a rate, also when the next one may.
local function room(limit, now)
  if limit.at_once then
    return limit.at_once - redis.call('ZLEXCOUNT', slots, within(limit))
  end
  local since = padded(now - limit.within) .. '!' -- above all members of that time
  local started = redis.call('ZLEXCOUNT', starts, within(limit, since))
  local next_at = now
  if started > 0 then
    local from, to = within(limit, since)
    local at = math.max(0, started - limit.starts)
    local member = redis.call('ZRANGEBYLEX', starts, from, to, 'LIMIT', at, 1)[1]
    next_at = tonumber(member:match(' (%S+) ')) + limit.within + 0.001
  end
  return limit.starts - started, next_at
end

-- Take all that a start needs, or nothing. Returns the limit that has no room, and when it may have.
local function acquire(id, record, now)
  for _, limit in ipairs(record.limits or {}) do
    local free, next_at = room(limit, now)
    if free <= 0 then return limit, next_at end
  end
  for _, limit in ipairs(record.limits or {}) do
    if limit.at_once then
      redis.call('ZADD', slots, 0, limit.name .. ' ' .. id)
    else
      local from, to = within(limit, nil, padded(now - limit.within) .. '!')
      local old = redis.call('ZRANGEBYLEX', starts, from, to, 'LIMIT', 0, 10) -- there may be a million: a few each time
      if old[1] then redis.call('ZREM', starts, unpack(old)) end
      redis.call('ZADD', starts, 0, limit.name .. ' ' .. padded(now) .. ' ' .. id)
    end
  end
end

-- Let a task wait for a limit. If another limit had let it go, the next one of that limit is let go instead.
local function block(id, record, tag, limit, next_at)
  local name, before = limit.name, record.woken
  record.state, record.woken = 'blocked', nil
  record.blocked = string.format('%s %d %020.6f %016.0f %s', name, record.priority, tag, record.seq, id)
  redis.call('ZADD', blocked, 0, record.blocked)
  if next_at then redis.call('ZADD', timers, 'NX', exact(next_at), name) end
  write_record(id, record)
  if before and before ~= name then wake(before) end
end

-- The limit that tasks wait for under this name, as the first of them has it. nil if none waits.
local function first_blocked(name)
  local member = redis.call('ZRANGEBYLEX', blocked, '[' .. name .. ' ', '(' .. name .. '!', 'LIMIT', 0, 1)[1]
  local record = member and read_record(member:match('(%S+)$'))
  for _, limit in ipairs(record and record.limits or {}) do
    if limit.name == name then return limit end
  end
  return member and {name = name, at_once = 1} -- its record was deleted by hand, or it is a suspect
end

-- The names of limits in a sorted set, in their order: a bounded number, from the one after `name` on.
local function limits_in(set, name, number)
  local found, from = {}, name == '' and '-' or '(' .. name .. '!'
  while #found < number do
    local member = redis.call('ZRANGEBYLEX', set, from, '+', 'LIMIT', 0, 1)[1]
    if not member then break end
    found[#found + 1] = member:match('^(%S+) ')
    from = '(' .. found[#found] .. '!'
  end
  return found
end

-- Let tasks go whose limits of rate have room again. Returns when the next ones may, by the group's time.
local function look_at_timers(now)
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', timers, '-inf', exact(now), 'LIMIT', 0, 10)) do
    redis.call('ZREM', timers, name)
    local limit = first_blocked(name)
    if limit then
      local free, next_at = 1, now -- where the first one's record was deleted by hand: the one after it is looked at
      if limit.starts then free, next_at = room(limit, now) end
      if free > 1000 then
        free, next_at = 1000, now + 100
      elseif limit.starts and next_at <= now then
        next_at = now + limit.within
      end
      for _ = 1, free do
        if not wake(name) then break end
      end
      if first_blocked(name) then redis.call('ZADD', timers, exact(next_at), name) end
    end
  end
  return redis.call('ZRANGE', timers, 0, 0, 'WITHSCORES')[2]
end

