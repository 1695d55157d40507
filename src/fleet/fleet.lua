-- The counts of a fleet. The server runs a script as a whole, so what one call looks at stays as it is until the call ends.
-- KEYS: members, ours, ours under construction, young. ARGV: verb, member, generation, then those of the verb.
local members, ours, building, young = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local verb, member, generation = ARGV[1], ARGV[2], ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function at(instant)
  return string.format('%.0f', instant)
end

local function living()
  return redis.call('ZRANGEBYSCORE', members, '(' .. at(now), '+inf')
end

local function hash_of(other)
  return string.sub(ours, 1, #ours - #member) .. other
end

local function is_ours(key)
  return redis.call('HGET', key, '@') == generation
end

-- A member is remembered for a day, so that it can tell a server that has lost its data from a lease that has run out.
local day = 86400000

local function live_on(key, lease)
  redis.call('PEXPIRE', key, lease)
  redis.call('ZADD', members, at(now + lease), member)
  redis.call('PEXPIRE', members, at(lease + day))
end

local function standing()
  local all = living()
  local answer = { 'standing', redis.call('EXISTS', young), #all }
  for index = 1, math.min(#all, 1000) do
    local counts = redis.call('HMGET', hash_of(all[index]), '*', 'leaving')
    answer[#answer + 1] = all[index]
    answer[#answer + 1] = counts[1] or '0'
    answer[#answer + 1] = counts[2] or '0'
  end
  return answer
end

if verb == 'take' then
  local network = ARGV[4]
  local most_of_client, most = tonumber(ARGV[5]) or math.huge, tonumber(ARGV[6]) or math.huge
  if not is_ours(ours) then return { 'stale' } end
  if redis.call('EXISTS', young) == 1 then return { 'young' } end
  local of_client, all, is_living = 0, 0, false
  for _, other in ipairs(living()) do
    local counts = redis.call('HMGET', hash_of(other), '*', network)
    all = all + (tonumber(counts[1]) or 0)
    of_client = of_client + (tonumber(counts[2]) or 0)
    is_living = is_living or other == member
  end
  if not is_living then return { 'stale' } end
  if network ~= '' and of_client >= most_of_client then return { 'client' } end
  if all >= most then return { 'all' } end
  redis.call('HINCRBY', ours, '*', 1)
  if network ~= '' then redis.call('HINCRBY', ours, network, 1) end
  return { 'granted' }
end

if verb == 'change' then
  if not is_ours(ours) then return { 'stale' } end
  for index = 4, #ARGV, 2 do
    if redis.call('HINCRBY', ours, ARGV[index], ARGV[index + 1]) <= 0 then redis.call('HDEL', ours, ARGV[index]) end
  end
  return { 'done' }
end

if verb == 'rewrite' then
  local step, lease, past = ARGV[4], tonumber(ARGV[5]), ARGV[6]
  if step == 'first' or step == 'only' then
    -- A call of an earlier connection may come late.
    local newest = math.max(tonumber(redis.call('HGET', ours, '@')) or 0, tonumber(redis.call('HGET', building, '@')) or 0)
    if newest > tonumber(generation) then return { 'stale' } end
    redis.call('DEL', building)
    redis.call('HSET', building, '@', generation)
    -- A member comes back and finds nobody, or the server has lost what it had of us, and so of all. The sums are wrong until all have
    -- come back. They may pause for 5 s before they try, and take 3 s for a connection.
    local is_lost = past == 'recent' and not redis.call('ZSCORE', members, member)
    if past ~= 'none' and (is_lost or #living() == 0) then redis.call('SET', young, '1', 'PX', at(lease + 8000)) end
  elseif not is_ours(building) then
    return { 'stale' }
  end
  for index = 7, #ARGV, 2 do
    redis.call('HSET', building, ARGV[index], ARGV[index + 1])
  end
  redis.call('PEXPIRE', building, lease)
  if step == 'last' or step == 'only' then
    redis.call('RENAME', building, ours)
    live_on(ours, lease)
    return standing()
  end
  -- What stands there is nearly right.
  if redis.call('EXISTS', ours) == 1 then live_on(ours, lease) end
  return { 'done' }
end

if verb == 'renew' then
  local lease, is_leaving = tonumber(ARGV[4]), ARGV[5]
  if not is_ours(ours) then return { 'stale' } end
  if is_leaving == '1' then redis.call('HSET', ours, 'leaving', '1') else redis.call('HDEL', ours, 'leaving') end
  live_on(ours, lease)
  redis.call('ZREMRANGEBYSCORE', members, '-inf', at(now - day))
  return standing()
end

if verb == 'leave' then
  if not is_ours(ours) then return { 'stale' } end
  redis.call('ZREM', members, member)
  redis.call('DEL', ours, building)
  return { 'done' }
end

return redis.error_reply('ERR longwire does not know this verb')
